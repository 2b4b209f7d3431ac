/* Explains a detection: asks web for a saliency map, which lies over the picture. */

import { Problem, address, send } from "./service.js";

const FACTS = "X-Explanation";
// Of the score: if more is left without the brightest tenth, the map does not say what matters.
const MOST_LEFT = 0.8;

/**
 * Return a saliency map of a detection.
 *
 * `file` is the picture, `detection` an entry of `data` in the response of /inference:
 * [label, score, [cx, cy, w, h]]. `url` of the result is an object URL of a PNG with the picture's
 * aspect, which the caller revokes; `text` says in sentences what it shows, `facts` has the numbers.
 * Throws a Problem, and an AbortError once `signal` is aborted.
 */
export async function explain(file, [label, , box], { model = "", masks = "", signal } = {}) {
  const url = address("explain", { label, box: box.join(","), model, masks });
  const body = new FormData();
  body.append("image", file);
  let response;
  try {
    response = await send(url, { method: "POST", body, signal, headers: { Accept: "image/png" } });
  } catch (problem) {
    if (problem.status !== 404 || problem.detail !== problem.title) throw problem;
    throw new Problem({ ...problem, detail: "This service explains no detections: EXPLAIN is off." });
  }
  const facts = JSON.parse(response.headers.get(FACTS));
  return { url: URL.createObjectURL(await response.blob()), text: describe(facts), facts };
}

function describe({ masks, seconds, truncated, score, best }) {
  const checked = best.score_without === null ? "" : `${describeCheck(score, best.score_without)} `;
  const end = truncated ? "; then the time was over" : "";
  return `${checked}Made in ${seconds.toFixed(1)} s with ${masks} masks, each of which hides other parts of ` +
    `the picture${end}.`;
}

function describeCheck(score, without) {
  const [before, after] = [score.toFixed(2), without.toFixed(2)];
  return without > MOST_LEFT * score
    ? `Do not rely on this map: with its brightest tenth hidden, the score is still ${after} (before: ${before}).`
    : `With the brightest tenth of the map hidden, the score falls from ${before} to ${after}.`;
}
