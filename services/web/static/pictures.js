// The pictures of this visit, and the queue that sends them.

import { secondsToWait } from "./problems.js";

const MOST_IN_FLIGHT = 4;
const MOST_ATTEMPTS = 10;

export class Pictures {
  #send;
  #changed;
  #inFlight = 0;
  #pausedUntil = 0;
  #timer = null;
  #ids = 0;

  /**
   * `send(file)` resolves to what a picture gets besides its state, or rejects with a Problem.
   * `changed(picture)` is called for each new state.
   */
  constructor(send, changed) {
    this.#send = send;
    this.#changed = changed;
    this.all = [];
  }

  add(file) {
    const picture = {
      id: (this.#ids += 1),
      file,
      name: file.name || "pasted picture",
      state: "queued", // sending, waiting, done, failed
      attempts: 0,
    };
    this.all.push(picture);
    this.#changed(picture);
    this.#start();
    return picture;
  }

  /** Send again what `test` selects; a picture that is on its way is sent afterwards. */
  resend(test) {
    for (const picture of this.all.filter(test)) {
      if (picture.state === "sending") {
        picture.stale = true;
        continue;
      }
      picture.attempts = 0;
      this.#set(picture, { state: "queued", problem: undefined });
    }
    this.#pausedUntil = 0;
    this.#start();
  }

  clear() {
    this.all = [];
  }

  count(...states) {
    return this.all.filter((picture) => states.includes(picture.state)).length;
  }

  /** Seconds until the queue goes on; 0 if it is not paused. */
  get pauseS() {
    return Math.max(0, Math.ceil((this.#pausedUntil - performance.now()) / 1000));
  }

  #set(picture, changes) {
    Object.assign(picture, changes);
    if (this.all.includes(picture)) this.#changed(picture);
  }

  #start() {
    if (this.pauseS > 0) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#start(), this.#pausedUntil - performance.now() + 1);
      return;
    }
    for (const picture of this.all) {
      if (this.#inFlight >= MOST_IN_FLIGHT) return;
      if (picture.state === "queued" || picture.state === "waiting") this.#sendOne(picture);
    }
  }

  async #sendOne(picture) {
    this.#inFlight += 1;
    picture.attempts += 1;
    picture.stale = false;
    this.#set(picture, { state: "sending" });
    try {
      const result = await this.#send(picture.file);
      this.#set(picture, picture.stale ? { state: "queued" } : { state: "done", ...result });
    } catch (problem) {
      this.#fail(picture, problem);
    } finally {
      this.#inFlight -= 1;
      this.#start();
    }
  }

  #fail(picture, problem) {
    const seconds = secondsToWait(problem);
    if (seconds === null || picture.attempts >= MOST_ATTEMPTS) {
      this.#set(picture, { state: "failed", problem });
      return;
    }
    // The service asks everybody to wait: so do the pictures behind this one.
    this.#pausedUntil = Math.max(this.#pausedUntil, performance.now() + seconds * 1000);
    this.#set(picture, { state: "waiting", problem });
  }
}
