// The live view: what /live/events sends, as columns of cards, numbers, a chart and a log.

import { Tier } from "./live-cards.js";
import { Chart } from "./live-chart.js";
import { follow } from "./live-stream.js";
import { authorization, keepToken, lacksToken } from "./service.js";

const MOST_LINES = 200;
const LOAD_SECONDS = 60;
const element = (id) => document.getElementById(id);
const chart = new Chart(element("chart"));
const tiers = new Map();
const seen = new Set();
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
let hasState = false;

function say(text, kind = "info") {
  // The same words again would be read out again.
  if (element("said").textContent !== text) element("said").textContent = text;
  element("said").dataset.kind = kind;
}

function number(value, digits = 1) {
  if (value === null) return "–";
  return value >= 100 ? String(Math.round(value)) : value.toFixed(digits);
}

function showTotals(totals) {
  element("offered").textContent = number(totals.offered);
  element("served").textContent = number(totals.served);
  element("p50").textContent = number(totals.p50_ms, 0);
  element("p95").textContent = number(totals.p95_ms, 0);
  const codes = Object.entries(totals.statuses).map(([status, count]) => {
    const code = document.createElement("span");
    code.className = status.startsWith("2") ? "ok" : status.startsWith("5") ? "bad" : "warn";
    const how = document.createElement("b");
    how.textContent = count;
    code.append(`${status} × `, how);
    return code;
  });
  element("codes").replaceChildren(...(codes.length ? codes : ["–"]));
}

function showTiers(state) {
  for (const [name, tier] of Object.entries(state.tiers)) {
    if (!tiers.has(name)) {
      tiers.set(name, new Tier(name));
      element("tiers").append(tiers.get(name).element);
    }
    tiers.get(name).show(tier, { isFirst: !hasState });
  }
}

function showChanges(changes) {
  const log = element("log");
  for (const change of changes) {
    // After a new connection the snapshot has some that are here already.
    const key = `${change.at} ${change.name} ${change.kind}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const line = document.createElement("p");
    line.dataset.tier = change.tier;
    line.dataset.kind = change.kind;
    const when = document.createElement("time");
    when.textContent = clock.format(new Date(change.at * 1000));
    const who = document.createElement("span");
    who.className = "who";
    who.textContent = change.name;
    const what = document.createElement("span");
    what.append(who, ` ${change.text}`);
    line.append(when, what);
    // The newest is first.
    log.prepend(line);
  }
  while (log.children.length > MOST_LINES) log.lastElementChild.remove();
}

function showLoad(load) {
  element("load").hidden = !load.may;
  element("stop").hidden = load.rate === 0;
  const left = `${Math.ceil(load.left_s)} s left`;
  element("go").textContent = load.rate ? `${number(load.rate, 0)}/s, ${left}` : "Make load";
  element("rate").disabled = load.rate > 0;
  element("go").disabled = load.rate > 0;
}

function show(name, state) {
  element("main").hidden = false;
  showTotals(state.totals);
  showTiers(state);
  showChanges(state.changes);
  showLoad(state.load);
  if (name === "snapshot") chart.reset(state.points);
  else chart.add(state.point);
  hasState = true;
  say("live", "live");
}

async function order(method, body) {
  try {
    const response = await fetch("live/load", {
      method,
      headers: { ...authorization(), "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });
    if (!response.ok) say((await response.json()).detail, "bad");
  } catch {
    say("The service did not answer.", "bad");
  }
}

function askForToken() {
  element("main").hidden = true;
  element("door").hidden = false;
  element("token").focus();
  say("A token is required.", "bad");
}

function start() {
  element("door").hidden = true;
  follow({
    event: show,
    lost: (why) => say(`${why}; trying again…`, "bad"),
    refused: askForToken,
  });
}

element("door").addEventListener("submit", (event) => {
  event.preventDefault();
  const refusal = keepToken(element("token").value.trim());
  element("token").value = "";
  if (refusal === "") start();
  else say(refusal, "bad");
});
element("load").addEventListener("submit", (event) => {
  event.preventDefault();
  order("POST", { rate: Number(element("rate").value), seconds: LOAD_SECONDS });
});
element("stop").addEventListener("click", () => order("DELETE"));
if (lacksToken()) askForToken();
else start();
