// Offered and served pictures per second over the last two minutes.

const SPAN_S = 120;

export class Chart {
  #points = [];

  constructor(canvas) {
    this.canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    addEventListener("themechange", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  reset(points) {
    this.#points = points;
    this.draw();
  }

  add(point) {
    this.#points.push(point);
    while (this.#points.length && this.#points[0].at < point.at - SPAN_S) this.#points.shift();
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const colour = (name) => getComputedStyle(canvas.parentElement).getPropertyValue(name);
    // light-dark() is resolved by the properties that use it, not by the variable.
    const probe = (name) => {
      canvas.style.color = `var(${name})`;
      return getComputedStyle(canvas).color || colour(name);
    };
    const [ok, fg, line, muted] = ["--ok", "--fg", "--line", "--muted"].map(probe);
    canvas.style.color = "";
    const most = Math.max(1, ...this.#points.map((point) => Math.max(point.offered, point.served)));
    const end = this.#points.at(-1)?.at ?? 0;
    const x = (at) => width - ((end - at) / SPAN_S) * width;
    const y = (rate) => height - 2 - (rate / most) * (height - 8);
    pen.strokeStyle = line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(0, height - 1.5);
    pen.lineTo(width, height - 1.5);
    pen.moveTo(0, y(most));
    pen.lineTo(width, y(most));
    pen.stroke();
    if (this.#points.length > 1) {
      const trace = (name) => this.#points.forEach((point, index) => {
        pen[index ? "lineTo" : "moveTo"](x(point.at), y(point[name]));
      });
      pen.beginPath();
      trace("served");
      pen.lineTo(x(end), y(0));
      pen.lineTo(x(this.#points[0].at), y(0));
      pen.fillStyle = ok;
      pen.globalAlpha = 0.45;
      pen.fill();
      pen.globalAlpha = 1;
      pen.beginPath();
      trace("offered");
      pen.strokeStyle = fg;
      pen.lineWidth = 1.75;
      pen.stroke();
    }
    pen.fillStyle = muted;
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "top";
    pen.fillText(`${Math.round(most * 10) / 10}/s`, 2, y(most) + 2);
  }
}
