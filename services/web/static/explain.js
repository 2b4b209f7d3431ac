/* Explains a detection: asks web for a saliency map, which lies over the picture. */

const FACTS = "X-Explanation";

/**
 * Return a saliency map of a detection.
 *
 * `file` is the picture, `detection` an entry of `data` in the response of /inference:
 * [label, score, [cx, cy, w, h]]. `url` of the result is an object URL of a PNG with the picture's
 * aspect, which the caller revokes; `text` is a sentence about it, `facts` the numbers. Throws an
 * Error whose message says what is wrong, and what `fetch` throws.
 */
export async function explain(file, [label, , box], { model, masks, signal, headers } = {}) {
  const query = new URLSearchParams({ label, box: box.join(",") });
  if (model) query.set("model", model);
  if (masks) query.set("masks", masks);
  const body = new FormData();
  body.append("image", file);
  const response = await fetch(`explain?${query}`, {
    method: "POST", body, signal, headers: { ...headers, Accept: "image/png" },
  });
  if (!response.ok) throw new Error(await problemOf(response));
  const facts = JSON.parse(response.headers.get(FACTS));
  return { url: URL.createObjectURL(await response.blob()), text: describe(facts), facts };
}

async function problemOf(response) {
  const { title, detail } = await response.json();
  return response.status === 404 && detail === title
    ? "This service explains no detections: EXPLAIN is off." : `${title}: ${detail}`;
}

function describe({ masks, seconds, truncated, score, best }) {
  const end = truncated ? ", when the time was over" : "";
  const begin = `${masks} masks in ${seconds.toFixed(1)} s${end}.`;
  if (best.score_without === null) return begin;
  return `${begin} Without the brightest tenth of the map the score is ` +
    `${best.score_without.toFixed(2)} instead of ${score.toFixed(2)}.`;
}
