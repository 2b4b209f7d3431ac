// Requests to the web service that sent this page.

const TOKEN_KEY = "elastic-yolo.token";
/** In place of a status: of a file that the browser cannot read. */
export const UNREADABLE = -1;

/** What the service says is wrong (RFC 9457); status 0 if it could not be reached. */
export class Problem extends Error {
  constructor({ status, title, detail, uid = "", retryAfter = null }) {
    super(detail);
    Object.assign(this, { status, title, detail, uid, retryAfter });
  }
}

let kept = ""; // where the browser keeps nothing

/** Return the token that is kept, or "". */
export function token() {
  let found = kept;
  try {
    found = sessionStorage.getItem(TOKEN_KEY) ?? kept;
  } catch {
    // It is in this module alone.
  }
  return isSendable(found) ? found : "";
}

/**
 * Keep a token until the tab is closed. Returns "", or a sentence that says why it is not kept: with
 * one that no header can carry, every later request would fail.
 */
export function keepToken(text) {
  if (text === "") return "Enter a token or an API key.";
  if (!isSendable(text)) return "This is no token: it contains control characters.";
  kept = text;
  try {
    sessionStorage.setItem(TOKEN_KEY, text);
  } catch {
    // It holds until the page is left.
  }
  return "";
}

function isSendable(text) {
  return !/\p{Cc}/u.test(text);
}

/** The service reads the bytes of a header as UTF-8; `fetch` takes one character for each byte. */
export function authorization() {
  if (token() === "") return {};
  const bytes = new TextEncoder().encode(token());
  return { Authorization: `Bearer ${String.fromCharCode(...bytes)}` };
}

/** Whether the service requires a token, and there is none: a request would be refused. */
export function lacksToken() {
  return document.documentElement.dataset.identity === "required" && token() === "";
}

/** Return the URL of a path of the service; parameters without a value are left out. */
export function address(path, parameters = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/**
 * Send a picture. Resolves to the response's JSON, its Server-Timing by name, and the milliseconds
 * that passed here; rejects with a Problem.
 */
export async function requestDetections(file, parameters, signal) {
  await requireReadable(file);
  const form = new FormData();
  form.append("image", file);
  const started = performance.now();
  const response = await send(address("inference", parameters), {
    method: "POST",
    body: form,
    signal,
  });
  const answer = await response.json();
  return {
    answer,
    timing: parseServerTiming(response.headers.get("Server-Timing")),
    elapsedMs: performance.now() - started,
  };
}

/** Resolves to the models that this caller may name; rejects with a Problem. */
export async function requestModels() {
  return (await send(address("models"))).json();
}

/** Resolves to whether the service has a route. */
export async function hasRoute(path) {
  try {
    const described = await (await send(address("openapi.json"))).json();
    return path in described.paths;
  } catch {
    return false;
  }
}

/** Like `fetch`, with the token; rejects with a Problem, or with an AbortError. */
export async function send(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: { ...options.headers, ...authorization() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      status: 0,
      title: "No response",
      detail: "The service could not be reached.",
    });
  }
  if (response.ok) return response;
  throw new Problem({
    status: response.status,
    title: response.statusText || `Status ${response.status}`,
    detail: "",
    uid: response.headers.get("X-Request-ID") ?? "",
    ...(await response.json().catch(() => ({}))),
    retryAfter: readSeconds(response.headers.get("Retry-After")),
  });
}

/** A folder, or a file that is gone: `fetch` would only say that the request failed. */
async function requireReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Problem({
      status: UNREADABLE,
      title: "Not readable",
      detail: "The browser cannot read this file: it is a folder, or it is no longer there.",
    });
  }
}

function readSeconds(text) {
  return /^[0-9]{1,6}$/.test(text ?? "") ? Number(text) : null;
}

const ENTRY = /([A-Za-z_]+);dur=([0-9.]+)(?:;desc="([^"\\]*)")?/g;

/** Return name -> {ms, description} of a Server-Timing header. */
export function parseServerTiming(header) {
  const entries = new Map();
  for (const [, name, ms, description = ""] of (header ?? "").matchAll(ENTRY)) {
    entries.set(name, { ms: Number(ms), description });
  }
  return entries;
}
