// The detections of a picture: threshold, classes and table.

import { colorOf } from "./colors.js";
import { element, make } from "./dom.js";

const FALLBACK_THRESHOLD = 0.25;
/** The page asks once, with this threshold, and filters. */
export const LOWEST_THRESHOLD = 0.05;

export class Results {
  #all = [];
  #own = FALLBACK_THRESHOLD;
  #isOwnKnown = false;
  #chosen = null;
  #hidden = new Set();
  #sort = { key: "score", down: true };
  #rows = new Map();
  #asked = LOWEST_THRESHOLD;
  #explanations = null;
  #on;

  /**
   * `on.shown(detections)` is called with what is to be drawn, best first, `on.pointed(detection)`
   * with the one whose row has the pointer or the focus, or null, `on.pressed(detection)` with the
   * one whose label was pressed, `on.why(detection)` with the one whose explanation is wanted or no
   * longer wanted, `on.adjusted()` after the visitor changed which ones are shown.
   */
  constructor(on) {
    this.#on = on;
    const slider = element("threshold");
    slider.addEventListener("input", () => {
      this.#chosen = Number(slider.value);
      this.#adjust();
    });
    element("threshold-own").addEventListener("click", () => {
      this.#chosen = null;
      this.#adjust();
    });
    for (const button of element("found").querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sortBy(button.dataset.sort));
    }
  }

  /** What applies now. */
  get threshold() {
    return this.#chosen ?? this.#own;
  }

  /** Return those that score above the threshold; `own` is their model's, if known. */
  above(detections, own) {
    const threshold = this.#chosen ?? own ?? FALLBACK_THRESHOLD;
    return detections.filter(({ score }) => score > threshold);
  }

  /**
   * Show the detections of a picture, best first. `own` is its model's threshold, if known, `asked`
   * the one that they score above.
   */
  show(detections, own, asked) {
    this.#all = detections;
    this.#asked = asked;
    this.#isOwnKnown = own !== undefined;
    this.#own = own ?? FALLBACK_THRESHOLD;
    element("threshold").min = String(Math.min(LOWEST_THRESHOLD, this.#own));
    this.#update();
  }

  /** Emphasise the row of one detection; null emphasises none. */
  emphasise(detection) {
    for (const [other, row] of this.#rows) row.classList.toggle("active", other === detection);
  }

  /** Scroll the row of a detection into the table's frame. */
  reveal(detection) {
    this.#rows.get(detection)?.scrollIntoView({ block: "nearest" });
  }

  /** Offer explanations; `explanations` knows their states. */
  offerExplanations(explanations) {
    this.#explanations = explanations;
    this.#update();
  }

  /** Show the states of the explanations again. */
  refreshExplanations() {
    if (this.#explanations === null) return;
    for (const [detection, row] of this.#rows) this.#showWhy(detection, row);
  }

  #adjust() {
    this.#update();
    this.#on.adjusted();
  }

  #update() {
    const threshold = this.threshold;
    element("threshold").value = String(threshold);
    element("threshold-value").textContent = threshold.toFixed(2);
    element("marks").replaceChildren(make("option", { value: String(this.#own) }));
    const own = element("threshold-own");
    own.hidden = false;
    own.disabled = threshold === this.#own;
    const whose = this.#isOwnKnown ? "the model's own" : "the default";
    own.textContent = own.disabled ? `${whose} threshold` : `Back to ${whose}: ${this.#own}`;
    const above = this.above(this.#all, this.#own);
    this.#listClasses(above);
    const shown = above.filter(({ label }) => !this.#hidden.has(label));
    this.#list(shown);
    element("shown").textContent = this.#all.length === 0 ? ""
      : `Shown: ${shown.length} of ${this.#all.length} boxes with a score above ${this.#asked}`;
    const nothing = element("nothing");
    nothing.hidden = shown.length > 0;
    nothing.textContent = this.#explainNothing(above.length);
    this.#on.shown(shown);
  }

  #explainNothing(above) {
    if (above > 0) return "All classes are switched off.";
    return this.#all.length > 0
      ? "Nothing scores above the threshold: move it to the left."
      : "Nothing was found in this picture.";
  }

  #listClasses(above) {
    const counts = new Map();
    for (const { label } of above) counts.set(label, (counts.get(label) ?? 0) + 1);
    const fieldset = element("classes");
    const focused = document.activeElement?.dataset?.label;
    const entries = [...counts].map(([label, count]) => this.#makeClass(label, count));
    fieldset.replaceChildren(fieldset.firstElementChild, ...entries);
    if (focused !== undefined) {
      [...fieldset.querySelectorAll("input")].find((box) => box.dataset.label === focused)?.focus();
    }
  }

  #makeClass(label, count) {
    const box = make("input", { type: "checkbox", checked: !this.#hidden.has(label) });
    box.dataset.label = label;
    box.addEventListener("change", () => {
      if (box.checked) this.#hidden.delete(label);
      else this.#hidden.add(label);
      this.#adjust();
    });
    return make("label", {}, box, makeDot(label), make("span", {}, `${label} ${count}`));
  }

  #sortBy(key) {
    const down = this.#sort.key === key ? !this.#sort.down : key === "score";
    this.#sort = { key, down };
    for (const button of element("found").querySelectorAll("[data-sort]")) {
      const order = button.dataset.sort === key ? (down ? "descending" : "ascending") : "none";
      button.closest("th").setAttribute("aria-sort", order);
    }
    this.#update();
  }

  #list(shown) {
    const { key, down } = this.#sort;
    const compare = key === "score" ? (a, b) => a.score - b.score
      : (a, b) => a.label.localeCompare(b.label) || b.score - a.score;
    const sorted = [...shown].sort((a, b) => (down ? -1 : 1) * compare(a, b));
    this.#rows = new Map(sorted.map((detection) => [detection, this.#makeRow(detection)]));
    const table = element("found");
    table.querySelector(".why").hidden = this.#explanations === null;
    table.hidden = sorted.length === 0;
    table.tBodies[0].replaceChildren(...this.#rows.values());
  }

  #makeRow(detection) {
    const { label, score, box } = detection;
    const name = make("button", { type: "button", title: "Show it in the picture" });
    name.append(makeDot(label), ` ${label}`);
    name.addEventListener("click", () => this.#on.pressed(detection));
    const bar = make("b");
    bar.style.width = `${score * 100}%`;
    bar.style.setProperty("--class", colorOf(label));
    const row = make("tr", {},
      make("td", {}, name),
      make("td", {}, make("div", { className: "score" }, score.toFixed(3), make("i", {}, bar))),
      make("td", { className: "box" }, box.map((n) => n.toFixed(0)).join(", ")),
    );
    if (this.#explanations !== null) {
      row.append(make("td", {}, this.#makeWhy(detection)));
      this.#showWhy(detection, row);
    }
    for (const [event, value] of [["pointerenter", detection], ["pointerleave", null], ["focusin", detection], ["focusout", null]]) {
      row.addEventListener(event, () => this.#on.pointed(value));
    }
    return row;
  }

  #makeWhy(detection) {
    const button = make("button", { type: "button", className: "explain" });
    button.addEventListener("click", () => this.#on.why(detection));
    return button;
  }

  #showWhy(detection, row) {
    const button = row.querySelector(".explain");
    const state = this.#explanations.stateOf(detection);
    const isRunning = state === "running";
    row.setAttribute("aria-busy", String(isRunning));
    button.setAttribute("aria-pressed", String(state === "shown"));
    if (isRunning) {
      const counted = make("span", { ariaHidden: "true" }, ` ${this.#explanations.seconds} s`);
      button.replaceChildren("Stop", counted);
      button.setAttribute("aria-label", `Stop explaining ${detection.label}`);
      button.title = "Stop the explanation";
    } else {
      button.textContent = "Why?";
      button.setAttribute("aria-label", `Why? Explain ${detection.label}`);
      button.title = "Shows which parts of the picture the score depends on, until it is pressed again";
    }
  }
}

function makeDot(label) {
  const dot = make("span", { className: "dot" });
  dot.style.setProperty("--class", colorOf(label));
  return dot;
}
