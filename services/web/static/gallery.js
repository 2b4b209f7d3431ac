// The strip of pictures: thumbnails, states, progress.

import { element, make } from "./dom.js";
import { uprightPicture } from "./orientation.js";
import { mayRetry } from "./problems.js";

const THUMB = { width: 192, height: 144 };

export class Gallery {
  #entries = new Map();
  #select;
  #countFound;
  #drawing = Promise.resolve();

  /**
   * `select(picture)` is called with the picture that was chosen; `countFound(picture)` returns how
   * many detections of it are above the threshold.
   */
  constructor(pictures, select, countFound) {
    this.pictures = pictures;
    this.#countFound = countFound;
    this.#select = select;
    this.selected = null;
    element("thumbs").addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show the state of a picture, and add it if it is new. */
  update(picture) {
    const entry = this.#entries.get(picture) ?? this.#add(picture);
    entry.button.dataset.state = picture.state;
    entry.state.textContent = this.#describe(picture);
    this.#showProgress();
  }

  /** Show the counts again: the threshold has changed. */
  recount() {
    for (const [picture, { state }] of this.#entries) state.textContent = this.#describe(picture);
  }

  /** Mark the picture whose result is shown. */
  mark(picture) {
    this.selected = picture;
    for (const [other, { button }] of this.#entries) {
      const isSelected = other === picture;
      button.setAttribute("aria-current", String(isSelected));
      button.tabIndex = isSelected ? 0 : -1; // one stop for Tab, arrows move within
      if (isSelected) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }

  clear() {
    this.#entries.clear();
    element("thumbs").replaceChildren();
    this.#showProgress();
  }

  /** Select the picture that is `by` places further; the focus follows it within the strip. */
  move(by, { focus }) {
    const all = this.pictures.all;
    const at = all.indexOf(this.selected) + by;
    if (at < 0 || at >= all.length) return;
    this.#select(all[at]);
    if (focus) this.#entries.get(all[at]).button.focus();
  }

  /** Show how many are done, and for how long the queue is paused. */
  #showProgress() {
    const { pictures } = this;
    const total = pictures.all.length;
    const failed = pictures.count("failed");
    const ended = pictures.count("done") + failed;
    element("gallery").hidden = total < 2;
    element("clear").hidden = total === 0;
    element("clear").textContent = total === 1 ? "Remove" : "Remove all";
    element("again").hidden = !pictures.all.some(({ state, problem }) => state === "failed" && mayRetry(problem));
    const bar = element("progress");
    bar.max = Math.max(1, total);
    bar.value = ended;
    const notes = [`${ended} of ${total}`];
    if (failed > 0) notes.push(`${failed} failed`);
    if (pictures.pauseS > 0) notes.push(`the service is busy: on in ${pictures.pauseS} s`);
    element("counted").textContent = notes.join(" · ");
  }

  #describe(picture) {
    switch (picture.state) {
      case "done": return `${this.#countFound(picture)} found`;
      case "failed": return "failed";
      case "waiting": return `waits ${this.pictures.pauseS} s`;
      case "sending": return "sending…";
      default: return "queued";
    }
  }

  #add(picture) {
    const canvas = make("canvas", { ...THUMB, ariaHidden: "true" });
    const state = make("span", { className: "state" });
    const name = make("span", { className: "visually-hidden" }, picture.name);
    const button = make("button", { type: "button", tabIndex: -1, title: picture.name });
    button.append(canvas, name, " ", state);
    button.addEventListener("click", () => this.#select(picture));
    element("thumbs").append(make("li", {}, button));
    const entry = { button, state };
    this.#entries.set(picture, entry);
    // One at a time: fifty photographs at once would take gigabytes.
    this.#drawing = this.#drawing.then(() => drawThumb(canvas, picture.file)).catch(() => {});
    return entry;
  }

  #key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const last = this.pictures.all.length - 1;
    const at = this.pictures.all.indexOf(this.selected);
    this.move(Math.max(-at, Math.min(by, last - at)), { focus: true });
  }
}

async function drawThumb(canvas, file) {
  const picture = await createImageBitmap(await uprightPicture(file), { resizeWidth: THUMB.width, resizeQuality: "medium" });
  const scale = Math.max(THUMB.width / picture.width, THUMB.height / picture.height);
  const [w, h] = [picture.width * scale, picture.height * scale];
  canvas.getContext("2d").drawImage(picture, (THUMB.width - w) / 2, (THUMB.height - h) / 2, w, h);
  picture.close();
}
