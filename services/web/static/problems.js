// What a visitor can do about a problem, by its status.

import { UNREADABLE } from "./service.js";

const ADVICE = new Map([
  [UNREADABLE, "Choose the file again."],
  [0, "Check that the services run and that the network works, then try again."],
  [401, "Enter a token or an API key. It stays in this tab until you close it."],
  [403, "Your token does not allow this. Choose another model, or ask for the right to use it."],
  [404, "Choose another model, or reload the page to see those that are served now."],
  [413, "Whoever runs the services sets the limits: MAX_BODY_BYTES and MAX_PIXELS."],
  [415, "If it is a picture, open it in an image editor and save it as one of these."],
  [422, "The file may be damaged. Open and save it again, or send another one."],
  [429, "The service has as much to do as it can take, or your limit is used up. Try again later."],
  [503, "The service starts, stops, or waits for another one. Try again in a moment."],
  [504, "It took too long. Try again; if it happens often, more replicas are needed."],
]);

/** Return a sentence that says what to do. */
export function advise(problem) {
  const advice = ADVICE.get(problem.status);
  if (advice !== undefined) return advice;
  return problem.status >= 500
    ? "The log of the service has the details under this uid."
    : "Try another picture.";
}

/** Whether the same picture may succeed later; if not, it is the picture or the caller. */
export function mayRetry({ status }) {
  return status !== UNREADABLE && (!(status >= 400 && status < 500) || status === 408 || status === 429);
}

/** Whether waiting may help, and for how many seconds; null if not. */
export function secondsToWait(problem) {
  if (problem.status !== 429 && problem.status !== 503) return null;
  const seconds = Math.max(1, problem.retryAfter ?? 1);
  return seconds <= 60 ? seconds : null; // a limit per day: nobody waits so long in front of a page
}
