// Where the time went, and who answered.

import { element, make } from "./dom.js";

const TIERS = ["web", "preprocess", "inference"];
const NETWORK = "network";
const NAMES = { network: "network and browser" };

/** Show the times of a response: bar, numbers, and the phases within the tiers. */
export function showTimes(timing, elapsedMs) {
  const parts = TIERS.filter((tier) => timing.has(tier)).map((tier) => [tier, timing.get(tier).ms]);
  const inside = parts.reduce((sum, [, ms]) => sum + ms, 0);
  parts.push([NETWORK, Math.max(0, elapsedMs - inside)]);
  element("total").textContent = format(elapsedMs);
  element("times").setAttribute(
    "aria-label", parts.map(([tier, ms]) => `${nameOf(tier)} ${format(ms)}`).join(", "),
  );
  element("times").replaceChildren(...parts.map(([tier, ms]) => {
    const part = make("span", { title: `${nameOf(tier)} ${format(ms)}` });
    part.dataset.tier = tier;
    part.style.flexGrow = String(ms);
    return part;
  }));
  element("tiers").replaceChildren(...parts.flatMap(([tier, ms]) => {
    const key = make("i");
    key.dataset.tier = tier;
    return [make("dt", {}, key, nameOf(tier)), make("dd", {}, format(ms))];
  }));
  const phases = [...timing].filter(([name]) => !TIERS.includes(name));
  element("phases").replaceChildren(...phases.flatMap(
    ([name, { ms }]) => [make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, format(ms))],
  ));
}

/** Show model, engine and the processes that answered. */
export function showFacts({ model, uid }, timing) {
  const facts = [
    ["Model", `${model.name}, version ${model.version}`],
    ["Digest", shorten(model.digest), model.digest],
    ["Engine", timing.get("engine")?.description],
    ...TIERS.map((tier) => [tier, timing.get(tier)?.description]),
    ["Request", shorten(uid), uid],
  ];
  element("facts").replaceChildren(...facts.filter(([, value]) => value).flatMap(
    ([name, value, title = value]) => [make("dt", {}, name), make("dd", { title }, value)],
  ));
}

function nameOf(tier) {
  return NAMES[tier] ?? tier;
}

function format(ms) {
  return `${ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

function shorten(text) {
  return text.length > 24 ? `${text.slice(0, 20)}…` : text;
}
