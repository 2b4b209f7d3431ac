// The page: pictures come in, are sent, and the one that is selected is shown.

import { copyText, element, make, saveBlob } from "./dom.js";
import { drawnPicture } from "./drawing.js";
import { Explanations } from "./explanations.js";
import { showFacts, showTimes } from "./facts.js";
import { Gallery } from "./gallery.js";
import { sampleUrls, setUpIntake } from "./intake.js";
import { Pictures } from "./pictures.js";
import { advise, mayRetry } from "./problems.js";
import { LOWEST_THRESHOLD, Results } from "./results.js";
import {
  Problem, hasRoute, keepToken, lacksToken, requestDetections, requestModels, token,
} from "./service.js";
import { makeSnippets } from "./snippets.js";
import { View } from "./view.js";

const thresholds = new Map(); // of each model, by its name
let explainer; // undefined until it is known whether the service explains
let snippets = {};
let shown = []; // detections in the picture

const pictures = new Pictures(sendPicture, changed);
const gallery = new Gallery(pictures, select, ({ detections, own }) => results.above(detections, own).length);
const view = new View((detection) => point(detection, { fromPicture: true }));
const explanations = new Explanations(showExplanation);
const results = new Results({
  shown: showDetections,
  adjusted: sayResult,
  pointed: point,
  pressed: (detection) => view.reveal(detection),
  why: explain,
});

function say(text) {
  // The same words again would be read out again.
  if (element("said").textContent !== text) element("said").textContent = text;
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
  return { ...result, model, detections, own, asked: threshold, problem: undefined };
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
    explanations.clear();
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
  if (state !== "done") explanations.clear();
  const isFailed = state === "failed";
  element("result").hidden = isFailed;
  element("result").classList.toggle("pending", state !== "done");
  document.querySelector(".side").hidden = state !== "done";
  element("problem").hidden = !isFailed;
  element("download").disabled = state !== "done";
  if (state === "done") showResult(picture);
  else if (isFailed) showProblem(picture);
  else {
    view.setDetections([]);
    say(state === "waiting" ? `${picture.problem.detail}: trying again in ${pictures.pauseS} s…` : "Detecting…");
  }
}

function showResult({ answer, timing, elapsedMs, detections, own, asked }) {
  results.show(detections, own, asked);
  showTimes(timing, elapsedMs);
  showFacts(answer, timing);
  sayResult();
  findExplainer();
}

/** Say what the picture shows now. */
function sayResult() {
  const picture = gallery.selected;
  if (picture?.state !== "done") return;
  if (explanations.running !== null) say(`Explaining ${explanations.running.label}…`);
  else say(explanations.shown?.text ?? describeResult(picture));
}

function describeResult({ answer, elapsedMs, detections, own }) {
  const found = results.above(detections, own).length;
  const off = found - shown.length;
  return `${found} found by ${answer.model.name} in ${Math.round(elapsedMs)} ms.` +
    `${off > 0 ? ` ${off} of them ${off === 1 ? "is" : "are"} switched off.` : ""}`;
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

function showProblem({ problem, name }) {
  const known = problem instanceof Problem ? problem
    : new Problem({ status: NaN, title: "Error in the page", detail: String(problem) });
  // A credential was sent, and the server could not even read the request.
  const isToken = known.status === 401 || (known.status === 400 && token() !== "");
  element("problem-name").textContent = name;
  element("problem-title").textContent = known.title;
  element("problem-detail").textContent = known.detail;
  element("problem-advice").textContent = advise(known);
  element("problem-uid").textContent = known.uid && `uid ${known.uid}`;
  element("token-form").hidden = !isToken;
  element("retry").hidden = !mayRetry(known);
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
  snippets = makeSnippets(
    picture.name, { ...picture.answer, data }, parameters, sampleUrls.get(picture.file),
  );
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
  results.offerExplanations(explanations);
}

async function explain(detection) {
  const { file, model } = gallery.selected;
  const { label, score, box } = detection;
  try {
    await explanations.toggle(
      detection, (signal) => explainer(file, [label, score, box], { model, signal }),
    );
  } catch (problem) {
    say(`Not explained: ${problem.detail ?? problem.message}`);
  }
}

function showExplanation() {
  const { shown: map } = explanations;
  for (const id of ["heat", "legend"]) element(id).hidden = map === null;
  if (map !== null) element("heat").src = map.url;
  element("view").classList.toggle("explained", map !== null);
  results.refreshExplanations();
  sayResult();
}

element("heat-hide").addEventListener("click", () => {
  explanations.clear();
  element("stage").focus();
});

// Buttons and keys

element("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const refusal = keepToken(element("token").value.trim());
  element("token").value = "";
  element("token-problem").textContent = refusal;
  if (refusal !== "") return;
  modelsKnown = listModels();
  pictures.resend(({ problem }) => problem?.status === 401 || problem?.status === 400);
});
element("retry").addEventListener("click", () => {
  pictures.resend((picture) => picture === gallery.selected);
});
element("again").addEventListener("click", () => {
  pictures.resend(({ state, problem }) => state === "failed" && mayRetry(problem));
});
element("clear").addEventListener("click", () => {
  pictures.clear();
  gallery.clear();
  gallery.mark(null);
  explanations.clear();
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
