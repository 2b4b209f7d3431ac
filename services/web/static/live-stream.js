// Reads /live/events: with fetch, because EventSource cannot send a token.

import { authorization } from "./service.js";

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 5000;
// Web sends something every five seconds: after twice as long, it is frozen or the network is gone.
const LONGEST_SILENCE_MS = 10_000;

/** Splits a text that arrives in pieces into server-sent events. */
export class EventParser {
  #rest = "";

  /** Returns [name, data] of each event that is complete now; comments are none. */
  take(text) {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop();
    const events = [];
    for (const block of blocks) {
      let name = "message";
      const data = [];
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data.push(line.slice(6));
      }
      if (data.length) events.push([name, JSON.parse(data.join("\n"))]);
    }
    return events;
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Follows the stream for ever. `on.event(name, data)`, `on.lost(why)` while it is away, and
 * `on.refused()`, after which it returns: the token is missing, wrong, or cannot be one.
 */
export async function follow(on) {
  let wait = FIRST_WAIT_MS;
  for (;;) {
    let why = "The connection is lost";
    const silence = new Silence();
    try {
      const response = await fetch("live/events", {
        headers: authorization(), cache: "no-store", signal: silence.signal,
      });
      if (response.status === 401 || response.status === 400) {
        on.refused();
        return;
      }
      if (response.ok) {
        wait = FIRST_WAIT_MS;
        await read(response, on, silence);
      } else {
        why = (await response.json()).detail;
        wait = LONGEST_WAIT_MS;
      }
    } catch {
      // Away: tried again below.
    } finally {
      silence.end();
    }
    on.lost(why);
    await pause(wait);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

/** Ends a request of which nothing has arrived for long. */
class Silence {
  #controller = new AbortController();
  #timer;

  constructor() {
    this.signal = this.#controller.signal;
    this.restart();
  }

  restart() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(), LONGEST_SILENCE_MS);
  }

  end() {
    clearTimeout(this.#timer);
  }
}

async function read(response, on, silence) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    silence.restart();
    for (const [name, data] of parser.take(value)) on.event(name, data);
  }
}
