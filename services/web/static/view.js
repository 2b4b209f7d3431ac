// The picture at any zoom, and the canvas over it.

import { element } from "./dom.js";
import { drawDetections } from "./drawing.js";
import { uprightPicture } from "./orientation.js";

// Of the canvas, in device pixels: phones refuse more. Beyond it, lines are drawn coarser.
const MOST_PIXELS = 16_000_000;
const MOST_SIDE = 8192;
const STEPS = [0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4];
const MOST_ENLARGED_TO_FIT = 3;
// Below the stage, and where the window is too low for what is above the picture.
const MARGIN_PX = 12;
const LEAST_ROOM_PX = 240;
// Of a wheel, for a zoom by the factor e.
const WHEEL_PX = 400;

export class View {
  #zoom = "fit";
  #detections = [];
  #active = null;
  #pointed;
  #file = null;
  #url = "";

  /** `pointed(detection)` is called with the detection under the pointer, or null. */
  constructor(pointed) {
    this.#pointed = pointed;
    this.image = element("picture");
    const sizes = new ResizeObserver(() => this.#resize());
    // What is around the picture decides how much of the window is left for it.
    for (const part of [element("viewport"), element("stage"), document.querySelector("main")]) sizes.observe(part);
    addEventListener("resize", () => this.#resize());
    element("zoom-fit").addEventListener("click", () => this.#setZoom("fit"));
    element("zoom-full").addEventListener("click", () => this.#setZoom(1));
    element("zoom-in").addEventListener("click", () => this.#step(1));
    element("zoom-out").addEventListener("click", () => this.#step(-1));
    element("viewport").addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    element("view").addEventListener("pointermove", (event) => this.#point(event));
    element("view").addEventListener("pointerleave", () => this.#pointed(null));
  }

  /** Resolves to whether the browser could decode the picture. */
  async show(file) {
    this.#file = file;
    this.#detections = [];
    this.#active = null;
    const upright = await uprightPicture(file).catch(() => file);
    if (this.#file !== file) return true;
    if (this.#url !== "") URL.revokeObjectURL(this.#url);
    const url = URL.createObjectURL(upright);
    this.#url = url;
    this.image.src = url;
    let decoded = true;
    await this.image.decode().catch(() => { decoded = false; });
    if (this.#url === url) this.#resize();
    return decoded;
  }

  /** Draw these detections, best first. */
  setDetections(detections) {
    this.#detections = detections;
    if (!detections.includes(this.#active)) this.#active = null;
    this.#draw();
  }

  /** Emphasise one detection; null emphasises none. */
  emphasise(detection) {
    if (detection === this.#active) return;
    this.#active = detection;
    this.#draw();
  }

  /** Scroll until a detection is in the frame. */
  reveal({ box: [cx, cy] }) {
    const frame = element("viewport");
    frame.scrollTo({
      left: cx * this.scale - frame.clientWidth / 2,
      top: cy * this.scale - frame.clientHeight / 2,
    });
  }

  /** CSS pixels of a pixel of the picture. */
  get scale() {
    return this.#zoom === "fit" ? this.#fitting() : this.#zoom;
  }

  #fitting() {
    const { naturalWidth: w, naturalHeight: h } = this.image;
    return Math.min(element("viewport").clientWidth / w, this.#roomBelow() / h, MOST_ENLARGED_TO_FIT);
  }

  /** The height that a picture may have to be in the window while the page is not scrolled. */
  #roomBelow() {
    const above = element("result").getBoundingClientRect().top + scrollY;
    // Bar, legend and borders. The stage moves while the page is scrolled, its size remains.
    const around = element("stage").offsetHeight - element("viewport").offsetHeight;
    const inWindow = innerHeight - around - 2 * MARGIN_PX;
    return Math.max(innerHeight - above - around - MARGIN_PX, Math.min(LEAST_ROOM_PX, inWindow), 1);
  }

  #setZoom(zoom, at = null) {
    const frame = element("viewport");
    const before = this.scale;
    const { x, y } = at ?? { x: frame.clientWidth / 2, y: frame.clientHeight / 2 };
    this.#zoom = zoom;
    this.#resize();
    // What is under the pointer, or in the middle, stays there.
    const factor = this.scale / before;
    frame.scrollLeft = (frame.scrollLeft + x) * factor - x;
    frame.scrollTop = (frame.scrollTop + y) * factor - y;
  }

  #step(direction) {
    const now = this.scale;
    const next = direction > 0
      ? STEPS.find((step) => step > now * 1.01)
      : STEPS.findLast((step) => step < now * 0.99);
    if (next !== undefined) this.#setZoom(next);
  }

  #wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const frame = element("viewport").getBoundingClientRect();
    const wanted = this.scale * Math.exp(-event.deltaY / WHEEL_PX);
    const zoom = Math.max(STEPS[0], Math.min(wanted, STEPS.at(-1)));
    this.#setZoom(zoom, { x: event.clientX - frame.x, y: event.clientY - frame.y });
  }

  #resize() {
    const { naturalWidth, naturalHeight } = this.image;
    if (naturalWidth === 0) return;
    const fits = this.#zoom === "fit";
    const scale = this.scale;
    const style = element("view").style;
    style.width = `${Math.max(1, Math.floor(naturalWidth * scale))}px`;
    style.height = `${Math.max(1, Math.floor(naturalHeight * scale))}px`;
    element("zoom").textContent = `${Math.round(scale * 100)} %`;
    element("zoom-fit").setAttribute("aria-pressed", String(fits));
    element("zoom-full").setAttribute("aria-pressed", String(!fits && scale === 1));
    this.#draw();
  }

  #draw() {
    const canvas = element("boxes");
    const { clientWidth: w, clientHeight: h } = element("view");
    if (w === 0 || this.image.naturalWidth === 0) return;
    const density = Math.min(
      devicePixelRatio,
      Math.sqrt(MOST_PIXELS / (w * h)),
      MOST_SIDE / Math.max(w, h),
    );
    canvas.width = Math.round(w * density);
    canvas.height = Math.round(h * density);
    const pen = canvas.getContext("2d");
    pen.scale(canvas.width / w, canvas.height / h);
    const scale = w / this.image.naturalWidth;
    // As all text: larger on a projector, and as large as the visitor's browser is set to.
    const text = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    drawDetections(pen, this.#detections, { w, h, scale, text, active: this.#active });
  }

  #point(event) {
    const frame = element("view").getBoundingClientRect();
    const scale = frame.width / this.image.naturalWidth;
    const x = (event.clientX - frame.x) / scale;
    const y = (event.clientY - frame.y) / scale;
    const under = this.#detections.filter(
      ({ box: [cx, cy, w, h] }) => Math.abs(x - cx) <= w / 2 && Math.abs(y - cy) <= h / 2,
    );
    // Of boxes within each other, the smallest.
    under.sort((a, b) => a.box[2] * a.box[3] - b.box[2] * b.box[3]);
    this.#pointed(under[0] ?? null);
  }
}
