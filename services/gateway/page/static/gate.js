// What the gate says of a version before an alias moves: sentences, and differences with intervals.
import { el } from "./dom.js";

const TONES = { better: "good", worse: "bad", "no clear difference": "" };
const number = (value, unit) => (value == null ? "–" : `${value > 0 ? "+" : ""}${value.toFixed(unit ? 2 : 4)}`);

function row(against, one) {
  const around = one.low == null ? "" : `${number(one.low, one.unit)} to ${number(one.high, one.unit)}`;
  return el("tr", {},
    el("td", {}, against), el("td", {}, one.label),
    el("td", { class: "number" }, `${number(one.mean, one.unit)}${one.unit && one.unit !== "0 to 1" ? ` ${one.unit}` : ""}`, around ? el("div", { class: "soft small" }, around) : null),
    el("td", {}, el("span", { class: `tag ${TONES[one.outcome] ?? ""}` }, one.outcome)));
}

export function gateView(gate) {
  const said = (gate.sentences ?? []).filter((s) => !(gate.warnings ?? []).includes(s));
  const parts = said.map((sentence) => el("p", {}, sentence));
  parts.push(...(gate.warnings ?? []).map((warning) => el("p", { class: "alert warn" }, warning)));
  if (gate.objection) parts.push(el("p", { class: "alert bad" }, gate.objection));
  const rows = (gate.against_current ?? []).map((one) => row(`version ${gate.current}`, one));
  for (const method of gate.against_methods ?? []) rows.push(...method.differences.slice(0, 2).map((one) => row(method.label, one)));
  if (!rows.length) return parts;
  const images = `${gate.images} held-out ${gate.images === 1 ? "image" : "images"}`;
  const head = ["Against", "Measure", "Difference", "Outcome"].map((h, i) => el("th", { scope: "col", class: i === 2 ? "number" : null }, h));
  parts.push(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Differences" },
    el("table", { class: "dense" }, el("caption", { class: "soft small" }, `Version ${gate.candidate} minus the others, on ${images}; 95 % intervals where there are enough images.`), el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))));
  return parts;
}
