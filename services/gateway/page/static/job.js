// One job: how far it is, its losses as they come, what it made. Follows the server's events.
import { $, ask, bytes, duration, el, json, send, show, when } from "./dom.js";
import { gateView } from "./gate.js";
import { tag } from "./jobs.js";

const box = $("job"), id = box.dataset.job, address = `/v1/jobs/${id}`;
const ENDED = new Set(["finished", "failed", "cancelled"]);
let rows = [], names = ["loss", "val_loss"], plot = null, source = null, shown = "";

async function look() {
  const job = await json(address);
  const name = job.model;
  $("title").textContent = job.kind === "train" ? `Training ${name}` : `Prediction with ${name}`;
  document.title = `${$("title").textContent} · micserve`;
  $("tags").replaceChildren(tag(job.state), ...(job.family ? [el("span", { class: "tag" }, job.family)] : []), ...(job.owner ? [el("span", { class: "tag" }, job.owner)] : []));
  progress(job);
  // The events tell the log anew from its tail on, so that it is written here only without them.
  if (!source) { $("log").textContent = (job.log_tail ?? []).join("\n"); $("log").scrollTop = $("log").scrollHeight; }
  show($("problem"), job.error ? new Error(typeof job.error === "string" ? job.error : job.error.detail ?? JSON.stringify(job.error)) : null);
  const facts = { Model: job.model, Version: job.version, Images: job.source, Targets: job.target, Preset: job.kind === "train" ? job.preset : null, Whose: job.owner, Asked: when(job.created), Began: when(job.started), Ended: when(job.ended), ...Object.fromEntries(Object.entries(job.parameters ?? {}).filter(([, v]) => v !== null && typeof v !== "object")) };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, v]) => v != null && v !== "").flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, String(v))]));
  $("results-card").hidden = job.kind === "train";
  const results = job.results ?? [];
  if (results.length) $("results").replaceChildren(...results.map((r) => el("a", { href: r.address, download: r.name.split("/").pop() }, `${r.name} (${bytes(r.bytes)})`)));
  actions(job);
  model(job);
  return job;
}

function progress(job) {
  if (job.fraction != null) $("bar").value = job.fraction;
  $("phase").textContent = job.state === "queued" ? "Waiting" + (job.queue_position ? `, number ${job.queue_position} in the queue` : "") : job.phase || job.state || $("phase").textContent;
  $("left").textContent = job.seconds_left ? `${duration(job.seconds_left)} left` : "";
  if (job.message != null) $("message").textContent = job.message;
}

function actions(job) {
  if (shown === job.state) return;
  shown = job.state;
  const ended = ENDED.has(job.state);
  $("actions").replaceChildren(el("button", { class: ended ? "button quiet" : "button danger", type: "button", id: "cancel", onclick: async (event) => {
    if (ended && !confirm("Delete the job and its results?")) return;
    event.currentTarget.disabled = true;
    try { await ask(address, { method: "DELETE" }); if (ended) location.href = "/jobs"; else await look(); }
    catch (error) { show($("problem"), error); }
  } }, ended ? "Delete" : "Cancel"));
}

function model(job) {
  if (job.kind !== "train" || job.state !== "finished" || !job.version || !$("published").hidden) return;
  const name = job.model, number = job.version, path = `/v1/models/${name}/versions/${number}`;
  $("published").hidden = false;
  $("model-actions").replaceChildren(
    el("p", {}, "It is ", el("a", { href: `/models/${name}?version=${number}`, id: "to-model" }, `version ${number} of ${name}`), "."),
    el("a", { class: "button quiet", href: `/predict?model=${name}&version=${number}` }, "Predict with it"),
    el("a", { class: "button quiet", href: `/qc?model=${name}@${number}` }, "Compare with ground truth"));
  verdict(name, number, path).catch((error) => show($("problem"), error));
}

// How it stands beside the version in use, and the button that puts it there.
async function verdict(name, number, path) {
  const gate = await json(`${path}/gate`);
  $("verdict").hidden = false;
  $("gate").replaceChildren(...gateView(gate));
  if (!$("gate").childElementCount) $("gate").append(el("p", { class: "soft" }, `${name} has no version in production yet, and this one has no quality report.`));
  if (!$("model-actions").dataset.mayPromote) return $("gate").append(el("p", { class: "soft small" }, "A maintainer decides whether it is used from now on."));
  if (gate.current === number) return promoted(name, number);
  const reason = el("input", { id: "reason", placeholder: "Kept with the promotion", required: Boolean(gate.objection) });
  const form = el("form", { class: "stack", id: "promote" }, el("div", { class: "field" }, el("label", { for: "reason" }, "Reason"), reason), el("button", { class: "button", type: "submit" }, gate.objection ? "Promote all the same" : "Promote"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    show($("problem"), null);
    try { await send(`/v1/models/${name}/promote`, { version: number, reason: reason.value, force: Boolean(gate.objection) }); promoted(name, number, form); }
    catch (error) { show($("problem"), error); }
  });
  $("gate").after(form);
}

function promoted(name, number, form) {
  form?.remove();
  $("gate").replaceChildren(el("p", { class: "alert good", role: "status" }, `Version ${number} of ${name} is in production.`));
}

// --- the losses ------------------------------------------------------------------------------
async function losses() {
  let text;
  try { text = await (await ask(`${address}/metrics.tsv`)).text(); } catch { return; }
  const [head, ...lines] = text.trim().split("\n").map((line) => line.split("\t"));
  if (!lines.length || !head) return;
  names = head.slice(1).filter((n) => n.includes("loss"));
  rows = lines.map((cells) => Object.fromEntries(head.map((h, i) => [h, cells[i] === "" || cells[i] == null ? null : Number(cells[i])])));
  draw();
}

function draw() {
  if (!rows.length) return;
  $("loss-card").hidden = false;
  const data = [rows.map((r) => r.epoch), ...names.map((n) => rows.map((r) => r[n] ?? null))];
  const last = rows.at(-1);
  $("loss-words").textContent = `Epoch ${last.epoch}: ` + names.map((n) => `${n} ${last[n]}`).join(", ");
  $("curve").dataset.points = rows.length;
  if (plot) return plot.setData(data);
  const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--soft").trim(), line = style.getPropertyValue("--line").trim();
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const colours = [style.getPropertyValue("--mark").trim(), "#d9731e", "#7a6ff0", "#c0508a"];
  plot = new uPlot({ width: $("curve").clientWidth, height: 270, legend: { live: false }, scales: { x: { time: false } }, axes: [{ ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], label: "epoch", labelSize: 18, labelFont: "13px system-ui" }, { ...axis, size: 62 }],
    series: [{ label: "epoch" }, ...names.map((n, i) => ({ label: n.replace("val_", "validation "), stroke: colours[i % 4], width: 2, points: { show: rows.length < 3 }, value: (_, v) => (v == null ? "–" : v.toPrecision(4)) }))] }, data, $("curve"));
}
addEventListener("resize", () => plot?.setSize({ width: $("curve").clientWidth, height: 270 }));
addEventListener("themechange", () => { plot?.destroy(); plot = null; draw(); });

// --- following -------------------------------------------------------------------------------
const parsed = (event) => { try { return JSON.parse(event.data); } catch { return {}; } };
function follow() {
  source = new EventSource(`${address}/events`);
  source.addEventListener("open", () => { $("log").textContent = ""; });
  source.addEventListener("progress", (event) => progress({ state: "running", ...parsed(event) }));
  source.addEventListener("metrics", () => losses());
  source.addEventListener("log", (event) => {
    const said = parsed(event), text = said.line ?? said.text ?? (typeof said === "string" ? said : event.data);
    $("log").textContent += ($("log").textContent ? "\n" : "") + text;
    $("log").scrollTop = $("log").scrollHeight;
  });
  source.addEventListener("end", async () => { source.close(); await refresh(); });
}

let timer = 0;
async function refresh() {
  clearTimeout(timer);
  try {
    const job = await look();
    await losses();
    if (ENDED.has(job.state)) return source?.close();
    if (!source) follow();
  } catch (error) { show($("problem"), error); if (error.status === 404) return; }
  timer = setTimeout(refresh, 4000);
}
refresh();
