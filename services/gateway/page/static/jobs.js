// The list of jobs, on the Jobs page and, what runs and waits, on the Status page.
import { $, ask, duration, el, json, send, show, when } from "./dom.js";

const TONES = { queued: "", running: "mark", finished: "good", failed: "bad", cancelled: "warn" };
const EVERY_MS = 3000;

export const tag = (state) => el("span", { class: `tag ${TONES[state] ?? ""}` }, state);

function row(job, live) {
  const progress = live ? el("td", {}, job.state === "queued" ? (job.queue_position ? `number ${job.queue_position} in the queue` : "waiting") : el("progress", { max: 1, value: job.fraction ?? 0, "aria-label": `Progress of ${job.id}` }), job.seconds_left ? el("span", { class: "soft small" }, `${duration(job.seconds_left)} left`) : null) : el("td", { class: "date" }, when(job.ended ?? job.created));
  return el("tr", {},
    el("td", {}, el("a", { href: `/jobs/${job.id}` }, title(job)), el("div", { class: "soft small" }, job.kind === "train" ? "training" : "prediction")),
    el("td", {}, job.owner ?? ""), el("td", {}, tag(job.state)), progress,
    el("td", { class: "right" }, el("button", { class: "button quiet low", type: "button", onclick: () => remove(job, live), "aria-label": `${live ? "Cancel" : "Delete"} ${title(job)}` }, live ? "Cancel" : "Delete")));
}

const title = (job) => (job.version && !String(job.model).includes("@") ? `${job.model}@${job.version}` : job.model ?? job.id);

async function remove(job, live) {
  if (!live && !confirm(`Delete the job ${title(job)} and its results?`)) return;
  try { await ask(`/v1/jobs/${job.id}`, { method: "DELETE" }); await look(); }
  catch (error) { if ($("problem")) show($("problem"), error); }
}

function table(jobs, live, empty) {
  if (!jobs.length) return el("p", { class: "soft" }, empty);
  const head = ["Job", "Whose", "State", live ? "Progress" : "When"].map((h) => el("th", { scope: "col" }, h));
  return el("table", { class: "jobs" }, el("thead", {}, el("tr", {}, ...head, el("th", { scope: "col" }, el("span", { class: "visually-hidden" }, "Actions")))), el("tbody", {}, ...jobs.map((job) => row(job, live))));
}

async function look() {
  const answer = await json("/v1/jobs");
  const jobs = answer.jobs ?? answer;
  const live = jobs.filter((j) => ["queued", "running"].includes(j.state));
  $("now").replaceChildren(table(live, true, "Nothing runs and nothing waits."));
  $("done")?.replaceChildren(table(jobs.filter((j) => !live.includes(j)), false, "No job has ended yet."));
}

async function watch() {
  try { await look(); }
  catch (error) {
    if (error.status === 404) return $("now").replaceChildren(el("p", { class: "soft" }, "This server runs no jobs."));
    if ($("problem")) show($("problem"), error); else $("now").replaceChildren(el("p", { class: "soft" }, error.message));
  }
  setTimeout(watch, EVERY_MS);
}
if ($("now")) watch();

// --- a folder of images through a model ---------------------------------------------------------
const form = $("folder-job");
if (form) {
  const models = JSON.parse($("models").textContent);
  const outputs = () => {
    const model = models.find((m) => m.name === form.model.value.split("@")[0]);
    form.output.replaceChildren(...(model?.outputs ?? []).map((o) => el("option", { value: o }, o)));
  };
  form.model.addEventListener("change", outputs);
  outputs();
  Promise.allSettled([json("/v1/folders"), json("/v1/data")]).then(([folders, data]) => {
    const known = [...(folders.value?.folders ?? []).map((f) => f.place), ...(data.value?.data ?? []).map((d) => d.place)];
    $("known-places").replaceChildren(...known.map((place) => el("option", { value: place })));
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    show($("problem"), null);
    try { location.href = `/jobs/${(await (await send("/v1/jobs", { kind: "predict", model: form.model.value, source: form.source.value, output: form.output.value })).json()).id}`; }
    catch (error) { show($("problem"), error); }
  });
}
