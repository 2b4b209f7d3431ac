// Shows the values of a chart at the pointer, or at a position that the arrow keys move. They are
// read from the table below the chart.

const DURATION_S = Number(document.body.dataset.duration);

class Chart {
  constructor(box) {
    this.box = box;
    this.tip = box.querySelector(".tip");
    this.line = box.querySelector(".line");
    const table = box.parentElement.querySelector("table");
    this.head = [...table.querySelectorAll("thead th")];
    this.rows = [...table.querySelectorAll("tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
    this.starts = this.rows.map((row) => Number(row[0]));
    this.index = -1;
    box.addEventListener("pointermove", (event) => this.follow(event));
    box.addEventListener("pointerdown", (event) => this.follow(event));
    box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
    box.addEventListener("keydown", (event) => this.move(event));
    box.addEventListener("blur", hide);
  }

  // The drawing that fits the screen, and its time axis in pixels of the box.
  axis() {
    const drawing = [...this.box.querySelectorAll("[data-left]")].find((one) => one.offsetWidth > 0);
    const width = drawing.offsetWidth;
    return { left: width * drawing.dataset.left, right: width * drawing.dataset.right, width };
  }

  end(index) {
    return index + 1 < this.starts.length ? this.starts[index + 1] : DURATION_S;
  }

  follow(event) {
    const { left, right } = this.axis();
    const x = event.clientX - this.box.getBoundingClientRect().left;
    const second = (DURATION_S * (x - left)) / (right - left);
    if (second < 0 || second > DURATION_S) return hide();
    this.show(this.starts.findLastIndex((start) => start <= second));
  }

  move(event) {
    const last = this.rows.length - 1;
    const steps = { ArrowRight: this.index + 1, ArrowLeft: this.index - 1, Home: 0, End: last };
    if (event.key === "Escape") return hide();
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.show(Math.min(last, Math.max(0, steps[event.key])));
  }

  show(index) {
    if (index < 0) return;
    charts.forEach((chart) => chart.mark(index));
    charts.forEach((chart) => { chart.tip.hidden = chart !== this; });
    this.fill(index);
    this.place(index);
  }

  // All charts have the same time axis.
  mark(index) {
    this.index = index;
    const { left, right } = this.axis();
    this.line.style.left = `${left + ((right - left) * this.middle(index)) / DURATION_S}px`;
    this.line.hidden = false;
  }

  middle(index) {
    return (this.starts[index] + this.end(index)) / 2;
  }

  fill(index) {
    const title = document.createElement("b");
    title.textContent = `second ${this.starts[index]} to ${this.end(index)}`;
    const list = document.createElement("dl");
    this.head.slice(1).forEach((head, column) => {
      const name = document.createElement("dt");
      if (head.dataset.colour) {
        const swatch = document.createElement("span");
        swatch.className = "swatch";
        swatch.style.background = `var(--${head.dataset.colour})`;
        name.append(swatch);
      }
      name.append(head.textContent);
      const value = document.createElement("dd");
      value.textContent = this.rows[index][column + 1];
      list.append(name, value);
    });
    this.tip.replaceChildren(title, list);
  }

  // Beside the line, on the side with more room, inside of the chart.
  place(index) {
    const { left, right, width } = this.axis();
    const x = left + ((right - left) * this.middle(index)) / DURATION_S;
    const wanted = x < width / 2 ? x + 12 : x - 12 - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(wanted, width - this.tip.offsetWidth))}px`;
  }
}

function hide() {
  charts.forEach((chart) => { chart.tip.hidden = chart.line.hidden = true; });
}

const charts = [...document.querySelectorAll(".chart")].map((box) => new Chart(box));
let width = innerWidth;
// On a phone, scrolling changes the height.
addEventListener("resize", () => {
  if (innerWidth !== width) hide();
  width = innerWidth;
});
// Tables that are folded on a screen are printed.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
