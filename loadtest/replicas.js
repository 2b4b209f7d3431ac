// The chart below locust's table of replicas: ready and desired pods, and CPU, of the last minutes.
"use strict";
(() => {
  const COLOURS = { web: "#3d8bd4", preprocess: "#cc8a00", inference: "#22a06b" };
  const OTHERS = ["#b565c9", "#d2504f"];
  const WIDTH = 900, HEIGHT = 130, LEFT = 46, RIGHT = 12, TOP = 26, BOTTOM = 24;
  const SVG = "http://www.w3.org/2000/svg";

  const section = document.createElement("section");
  section.id = "replicas-chart";
  section.hidden = true;
  section.style.cssText = "max-width:1100px;margin:0 auto;padding:0 16px 32px;" +
    "font-family:sans-serif;color:#808890";
  // Locust's page is as high as the window even if it is empty, and would push ours out of sight.
  const style = document.createElement("style");
  style.textContent = "#root:has(~ #replicas-chart:not([hidden])) > div { min-height: 0 !important; }";
  document.head.append(style);
  document.body.append(section);

  const element = (name, attributes, text = "") => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };
  const colour = (tier, index) => COLOURS[tier] ?? OTHERS[index % OTHERS.length];

  // A panel: lines of steps, each {label, colour, dashed, points: [[x, y], ...]}.
  const panel = (title, lines, [from, to]) => {
    const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", width: "100%" });
    svg.append(element("title", {}, title));
    const highest = Math.max(1, ...lines.flatMap((line) => line.points.map(([, y]) => y)));
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((s) => highest / s <= 4) ?? highest;
    const top = Math.ceil(highest / step) * step;
    const x = (at) => LEFT + (WIDTH - LEFT - RIGHT) * (at - from) / Math.max(1, to - from);
    const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top;
    svg.append(element("text", { x: LEFT, y: 16, fill: "currentColor", "font-size": 14 }, title));
    for (let value = 0; value <= top; value += step) {
      svg.append(element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value),
        stroke: "currentColor", "stroke-opacity": 0.25 }));
      svg.append(element("text", { x: LEFT - 6, y: y(value) + 4, fill: "currentColor",
        "font-size": 12, "text-anchor": "end" }, String(value)));
    }
    for (const [at, anchor] of [[from, "start"], [to, "end"]]) {
      svg.append(element("text", { x: x(at), y: HEIGHT - 6, fill: "currentColor", "font-size": 12,
        "text-anchor": anchor }, new Date(at * 1000).toLocaleTimeString()));
    }
    for (const line of lines) {
      const path = line.points.map(([at, value], index) =>
        index ? `H${x(at).toFixed(1)}V${y(value).toFixed(1)}` : `M${x(at).toFixed(1)} ${y(value).toFixed(1)}`);
      svg.append(element("path", { d: path.join(""), fill: "none", stroke: line.colour,
        "stroke-width": 2, "data-line": line.label, "stroke-dasharray": line.dashed ? "6 4" : "none" }));
    }
    return svg;
  };

  const legend = (lines) => {
    const list = document.createElement("p");
    list.style.margin = "0 0 12px 46px";
    for (const line of lines) {
      const item = document.createElement("span");
      item.textContent = `━ ${line.label}`;
      item.style.cssText = `color:${line.colour};margin-right:16px;white-space:nowrap`;
      list.append(item);
    }
    return list;
  };

  const show = ({ samples, fault }) => {
    section.replaceChildren();
    if (fault || !samples.length) {
      const said = document.createElement("p");
      said.textContent = fault ?? "The timeline is empty.";
      section.append(said);
    }
    if (!samples.length) return;
    const tiers = [...new Set(samples.map((sample) => sample.tier))];
    const span = [samples[0].at, samples[samples.length - 1].at];
    const line = (tier, index, label, dashed, value) => ({
      label: `${tier} ${label}`, dashed, colour: colour(tier, index),
      points: samples.filter((s) => s.tier === tier && value(s) !== null).map((s) => [s.at, value(s)]),
    });
    tiers.forEach((tier, index) => {
      const pods = [
        line(tier, index, "ready", false, (s) => s.ready),
        { ...line(tier, index, "desired", true, (s) => s.desired), colour: "currentColor" },
      ];
      section.append(panel(`Pods of ${tier}: ━ ready, ┅ desired`, pods, span));
    });
    const cpu = tiers.map((tier, index) => line(tier, index, "CPU", false, (s) => s.cpu_percent))
      .filter((one) => one.points.length);
    if (cpu.length) section.append(panel("CPU in per cent of the CPU request", cpu, span), legend(cpu));
  };

  const open = () => new URLSearchParams(location.search).get("tab") === "replicas";
  let asking = false;
  const refresh = async () => {
    section.hidden = !open();
    if (section.hidden || asking) return;
    asking = true;
    try {
      show(await (await fetch("replicas/data")).json());
    } catch (error) {
      section.textContent = `Locust does not answer: ${error.message}`;
    } finally {
      asking = false;
    }
  };
  setInterval(refresh, 1000);
  refresh();
})();
