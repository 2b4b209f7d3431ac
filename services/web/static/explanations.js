// The explanation of one detection: it is being made, or its map lies over the picture.

const MOST_TRIES = 8;
const PAUSE_MS = 700;
// After a request was given up, the service takes a moment to notice.
const GIVEN_UP_MS = 5000;

export class Explanations {
  #changed;
  #running = null;
  #shown = null;
  #gaveUpAt = -Infinity;

  /** `changed()` is called whenever `stateOf`, `running` or `shown` has another result. */
  constructor(changed) {
    this.#changed = changed;
    // The seconds count up.
    setInterval(() => { if (this.#running !== null) changed(); }, 1000);
  }

  /** The detection whose explanation is being made, or null. */
  get running() {
    return this.#running?.detection ?? null;
  }

  /** {detection, url, text} of the map that is shown, or null. */
  get shown() {
    return this.#shown;
  }

  /** Return "running", "shown" or "none" for a detection. */
  stateOf(detection) {
    if (detection === this.running) return "running";
    return detection === this.#shown?.detection ? "shown" : "none";
  }

  /** For how many seconds the explanation has been made. */
  get seconds() {
    return Math.round((performance.now() - (this.#running?.startedAt ?? performance.now())) / 1000);
  }

  /**
   * Start the explanation of a detection, in place of any other one. If it is being made or shown,
   * end it. `request(signal)` resolves to {url, text}. Rejects with what is wrong.
   */
  async toggle(detection, request) {
    const isNew = this.stateOf(detection) === "none";
    this.clear();
    if (!isNew) return;
    const running = { detection, startedAt: performance.now(), controller: new AbortController() };
    this.#running = running;
    this.#changed();
    try {
      const { url, text } = await this.#try(request, running.controller.signal);
      if (this.#running !== running) URL.revokeObjectURL(url);
      else this.#shown = { detection, url, text };
    } catch (problem) {
      if (this.#running === running) throw problem;
    } finally {
      if (this.#running === running) {
        this.#running = null;
        this.#changed();
      }
    }
  }

  /** End what is being made, and hide what is shown. */
  clear() {
    if (this.#running === null && this.#shown === null) return;
    if (this.#running !== null) {
      // The service makes one at a time: one that nobody waits for would be in the way.
      this.#gaveUpAt = performance.now();
      this.#running.controller.abort();
    }
    if (this.#shown !== null) URL.revokeObjectURL(this.#shown.url);
    this.#running = this.#shown = null;
    this.#changed();
  }

  async #try(request, signal) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await request(signal);
      } catch (problem) {
        const isOwn = performance.now() - this.#gaveUpAt < GIVEN_UP_MS;
        if (problem.status !== 429 || !isOwn || tries === MOST_TRIES || signal.aborted) throw problem;
      }
      await new Promise((resolve) => { setTimeout(resolve, PAUSE_MS); });
      signal.throwIfAborted();
    }
  }
}
