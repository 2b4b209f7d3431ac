// The page: pictures come in, are sent, and the one that is selected is shown.

import { copyText, element, make, saveBlob } from "./dom.js";
import { drawnPicture } from "./drawing.js";
import { showFacts, showTimes } from "./facts.js";
import { Gallery } from "./gallery.js";
import { setUpIntake } from "./intake.js";
import { Pictures } from "./pictures.js";
import { advise } from "./problems.js";
import { LOWEST_THRESHOLD, Results, WHY } from "./results.js";
import {
  Problem, authorization, hasRoute, keepToken, lacksToken, requestDetections, requestModels,
} from "./service.js";
import { makeSnippets } from "./snippets.js";
import { View } from "./view.js";

const thresholds = new Map(); // of each model, by its name
let explaining = null; // the AbortController of an explanation that is being made
let explainer; // undefined until it is known whether the service explains
let snippets = {};
let shown = []; // detections in the picture

const pictures = new Pictures(sendPicture, changed);
const gallery = new Gallery(pictures, select, ({ detections, own }) => results.above(detections, own).length);
const view = new View((detection) => point(detection, { fromPicture: true }));
const results = new Results({ shown: showDetections, pointed: point, pressed: (one) => view.reveal(one) });

function say(text) {
  element("said").textContent = text;
}

// Sending

async function sendPicture(file) {
  const model = element("model").value;
  await modelsKnown;
  // A model whose own threshold is lower still keeps all of its detections.
  const threshold = Math.min(LOWEST_THRESHOLD, ...[thresholds.get(model)].filter(Number.isFinite));
  const result = await requestDetections(file, { model, threshold });
  const detections = result.answer.data.map(([label, score, box]) => ({ label, score, box }));
  const own = thresholds.get(result.answer.model.name);
  return { ...result, model, detections, own, problem: undefined };
}

function take(files) {
  if (files.length === 0) return;
  const first = files.map((file) => pictures.add(file))[0];
  document.body.classList.add("busy");
  select(first);
}

function changed(picture) {
  gallery.update(picture);
  if (picture === gallery.selected) show(picture);
  const busy = pictures.count("queued", "sending", "waiting");
  if (busy === 0 && pictures.all.length > 1) {
    const failed = pictures.count("failed");
    const done = pictures.count("done");
    say(`${done} ${done === 1 ? "picture" : "pictures"} done${failed ? `, ${failed} failed` : ""}.`);
  }
}

// Showing

function select(picture) {
  if (picture !== gallery.selected) {
    gallery.mark(picture);
    hideHeat();
    element("shown-name").textContent = picture.name;
    element("picture").alt = `Picture ${picture.name}`;
    view.show(picture.file).then((decoded) => {
      if (!decoded && picture === gallery.selected && picture.state === "done") {
        say("Your browser cannot show this picture; the service could read it.");
      }
    });
  }
  show(picture);
}

function show(picture) {
  const { state } = picture;
  const isFailed = state === "failed";
  element("result").hidden = isFailed;
  element("result").classList.toggle("pending", state !== "done");
  document.querySelector(".side").hidden = state !== "done";
  element("problem").hidden = !isFailed;
  element("download").disabled = state !== "done";
  if (state === "done") showResult(picture);
  else if (isFailed) showProblem(picture.problem);
  else {
    view.setDetections([]);
    say(state === "waiting" ? `${picture.problem.detail}: trying again in ${pictures.pauseS} s…` : "Detecting…");
  }
}

function showResult({ answer, timing, elapsedMs, detections, own }) {
  results.show(detections, own);
  showTimes(timing, elapsedMs);
  showFacts(answer, timing);
  say(`${shown.length} found by ${answer.model.name} in ${Math.round(elapsedMs)} ms.`);
  findExplainer();
}

function showDetections(detections) {
  shown = detections;
  view.setDetections(detections);
  const described = detections.slice(0, 20).map(({ label }) => label).join(", ");
  element("boxes").setAttribute("aria-label", `${detections.length} boxes${described && ": "}${described}`);
  gallery.recount();
  updateSnippets();
}

function point(detection, { fromPicture = false } = {}) {
  view.emphasise(detection);
  results.emphasise(detection);
  if (fromPicture && detection !== null) results.reveal(detection);
}

function showProblem(problem) {
  const known = problem instanceof Problem ? problem
    : new Problem({ status: NaN, title: "Error in the page", detail: String(problem) });
  element("problem-title").textContent = known.title;
  element("problem-detail").textContent = known.detail;
  element("problem-advice").textContent = advise(known);
  element("problem-uid").textContent = known.uid && `uid ${known.uid}`;
  element("token-form").hidden = known.status !== 401;
  element("retry").hidden = known.status === 401;
  say("");
}

// Models

async function listModels() {
  if (lacksToken()) return;
  let listed;
  try {
    listed = await requestModels();
  } catch {
    return; // without them, the default model answers
  }
  const usual = listed.default;
  const others = listed.models.filter(({ name }) => name !== usual?.name);
  for (const { name, threshold } of listed.models) thresholds.set(name, threshold);
  if (usual !== null) {
    thresholds.set(usual.name, usual.threshold);
    thresholds.set("", usual.threshold);
  }
  const choices = usual === null ? [] : [make("option", { value: "" }, usual.name)];
  choices.push(...others.map(({ name }) => make("option", { value: name }, name)));
  element("model").replaceChildren(...choices);
  element("models").hidden = choices.length < 2;
}

element("model").addEventListener("change", () => {
  pictures.resend((picture) => picture.model !== element("model").value);
});

// Programs

function updateSnippets() {
  const picture = gallery.selected;
  if (picture?.state !== "done") return;
  const parameters = { model: picture.model, threshold: results.threshold };
  const above = results.above(picture.detections, picture.own);
  const data = above.map(({ label, score, box }) => [label, score, box]);
  snippets = makeSnippets(picture.name, { ...picture.answer, data }, parameters);
  for (const details of document.querySelectorAll("[data-text]")) {
    details.querySelector("pre").textContent = details.open ? snippets[details.dataset.text] : "";
  }
}

for (const details of document.querySelectorAll("[data-text]")) {
  details.addEventListener("toggle", updateSnippets);
  const button = details.querySelector("button");
  button.addEventListener("click", async () => {
    const done = await copyText(snippets[details.dataset.text]);
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// Explanations: where the service has them, with static/explain.js

async function findExplainer() {
  if (explainer !== undefined) return;
  explainer = null;
  if (!(await hasRoute("/explain"))) return;
  explainer = (await import("./explain.js")).explain;
  results.explain = explain;
  if (gallery.selected?.state === "done") show(gallery.selected);
}

async function explain(detection, button) {
  const picture = gallery.selected;
  const isShown = detection === results.explained;
  hideHeat();
  if (isShown) {
    button.setAttribute("aria-pressed", "false");
    return;
  }
  button.disabled = true;
  const controller = (explaining = new AbortController());
  const ticking = showSeconds(button);
  say(`Explaining ${detection.label}…`);
  try {
    const { label, score, box } = detection;
    const { url, text } = await explainer(picture.file, [label, score, box], {
      model: picture.model,
      headers: authorization(),
      signal: controller.signal,
    });
    explaining = null;
    hideHeat();
    element("heat").src = url;
    element("heat").hidden = false;
    results.explained = detection;
    for (const other of document.querySelectorAll(".explain")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    say(text);
  } catch (problem) {
    if (controller.signal.aborted) return;
    say(`${problem.title ?? "Not explained"}: ${problem.detail ?? problem.message}`);
  } finally {
    clearInterval(ticking);
    button.textContent = WHY;
    button.disabled = false;
  }
}

/** Count seconds on a button until the interval that this returns is cleared. */
function showSeconds(button) {
  const started = performance.now();
  return setInterval(() => {
    button.textContent = `${Math.round((performance.now() - started) / 1000)} s…`;
  }, 1000);
}

function hideHeat() {
  const heat = element("heat");
  // The service makes one explanation at a time: one that nobody waits for would be in the way.
  explaining?.abort();
  explaining = null;
  results.explained = null;
  if (heat.hidden) return;
  heat.hidden = true;
  URL.revokeObjectURL(heat.src);
}

// Buttons and keys

element("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(element("token").value.trim());
  element("token").value = "";
  modelsKnown = listModels();
  pictures.resend(({ problem }) => problem?.status === 401);
});
element("retry").addEventListener("click", () => {
  pictures.resend((picture) => picture === gallery.selected);
});
element("again").addEventListener("click", () => pictures.resend(({ state }) => state === "failed"));
element("clear").addEventListener("click", () => {
  pictures.clear();
  gallery.clear();
  gallery.mark(null);
  element("result").hidden = element("problem").hidden = true;
  document.body.classList.remove("busy");
  say("");
  element("file").focus();
});
element("download").addEventListener("click", async () => {
  const { file, name } = gallery.selected;
  const drawn = await drawnPicture(view.image, shown, file.type);
  saveBlob(drawn, `${name.replace(/\.\w+$/, "")}-boxes.${drawn.type === "image/jpeg" ? "jpg" : "png"}`);
});
addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const isUsed = event.target.closest?.("input, select, textarea, #viewport, dialog, [role=group]");
  if (by === undefined || isUsed || event.altKey || event.ctrlKey || event.metaKey) return;
  gallery.move(by, { focus: false });
});
// The seconds that are left count down.
setInterval(() => {
  for (const picture of pictures.all) if (picture.state === "waiting") changed(picture);
}, 1000);

let modelsKnown = listModels();
setUpIntake(take, say);
