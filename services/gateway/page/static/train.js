// The Train page: family, images, parameters, start. Data goes up in parts that resume.
import { $, ask, bytes, dropZone, duration, el, json, parameterForm, Problem, send, show } from "./dom.js";
import { openImage, paint } from "./viewer.js";

const PART = 8 << 20;
const NEEDS_TARGET = { n2v: false };
const OURS = ["data", "target", "source", "name", "ndim", "preset", "from_model", "author"];
const chosen = { source: [], target: [] };
let families = [], form = null, data = null, places = null, checked = false, pixels = null;

const value = (name) => document.querySelector(`[name=${name}]:checked`)?.value;
const family = () => families.find((f) => f.name === value("family"));
const pairs = () => family() && (family().paired ?? NEEDS_TARGET[family().name] ?? true);
const list = (what) => (Array.isArray(what) ? what : Object.entries(what ?? {}).map(([name, one]) => ({ name, ...one })));
const ofDimensions = (what) => (Array.isArray(what) ? what : what?.[value("ndim")] ?? what);

// --- family, preset, parameters -------------------------------------------------------------
async function begin() {
  try {
    const answer = await json("/v1/families");
    families = list(answer.families ?? answer);
  } catch (error) {
    if (error.status === 404) error = new Problem("This server runs no trainings from the page. Train in a terminal: make train-n2v DATA=folder NAME=n2v-mine", 404);
    return show($("problem"), error);
  }
  $("families").replaceChildren(...families.map((f, i) => el("label", { class: "choice" }, el("input", { type: "radio", name: "family", value: f.name, checked: i === 0, onchange: familyChanged }), el("strong", {}, f.title ?? f.name), el("span", {}, f.job ?? f.description ?? ""))));
  familyChanged();
}

function familyChanged() {
  const dimensions = (family().dimensions ?? family().ndim ?? [2, 3]).map((d) => parseInt(d, 10));
  for (const radio of document.querySelectorAll("[name=ndim]")) radio.disabled = !dimensions.includes(+radio.value);
  $("target-drop").hidden = $("target-place-row").hidden = !pairs();
  if (!$("name").value || $("name").dataset.ours) { $("name").value = `${family().name}-mine`; $("name").dataset.ours = "yes"; }
  parametersChanged();
  forget();
}

function parametersChanged() {
  const parameters = list(ofDimensions(family().parameters));
  form = parameterForm($("parameters"), parameters, OURS);
  const presets = list(ofDimensions(family().presets));
  const wanted = presets.some((p) => p.name === "recommended") ? "recommended" : presets[0]?.name;
  $("presets").replaceChildren(...presets.map((p) => el("label", { class: "choice" }, el("input", { type: "radio", name: "preset", value: p.name, checked: p.name === wanted, onchange: () => presetChanged(p) }), el("strong", {}, p.name), el("span", {}, p.title ?? ""))));
  const first = presets.find((p) => p.name === wanted);
  if (first) presetChanged(first); else estimate();
}

function presetChanged(preset) {
  const parameters = list(ofDimensions(family().parameters));
  form.preset({ ...Object.fromEntries(parameters.map((p) => [p.name, p.default])), ...(preset.values ?? {}) });
  estimate();
}

$("name").addEventListener("input", () => { delete $("name").dataset.ours; ready(); });
for (const radio of document.querySelectorAll("[name=ndim]")) radio.addEventListener("change", () => { parametersChanged(); forget(); });

// --- images ---------------------------------------------------------------------------------
for (const zone of document.querySelectorAll("[data-drop]")) {
  const name = zone.querySelector("input").name;
  dropZone(zone, (files) => {
    chosen[name] = files;
    $(`${name}-said`).textContent = `${files.length} ${files.length === 1 ? "file" : "files"}, ${bytes(files.reduce((sum, f) => sum + f.size, 0))}`;
    forget();
  });
}
for (const radio of document.querySelectorAll("[name=where]")) radio.addEventListener("change", whereChanged);
for (const id of ["source-place", "target-place"]) $(id).addEventListener("input", forget);

async function whereChanged() {
  $("from-upload").hidden = value("where") !== "upload";
  $("from-folder").hidden = value("where") === "upload";
  forget();
  if (value("where") === "upload") return;
  try { $("places").replaceChildren(...(await knownPlaces(value("where"))).map((place) => el("option", { value: place }))); }
  catch (error) { show($("problem"), error); }
}

async function knownPlaces(where) {
  if (where === "folder") {
    const answer = await json("/v1/folders");
    return (answer.folders ?? answer).map((f) => f.place ?? f);
  }
  const answer = await json("/v1/data");
  const folders = (d) => [...new Set((d.files ?? []).map((f) => (f.path ?? f.name ?? f).split("/").slice(0, -1).join("/")))];
  return (answer.data ?? answer.datasets ?? answer).flatMap((d) => folders(d).map((folder) => `data:${d.id}/${folder}`));
}

function forget() { data = null; places = null; checked = false; pixels = null; $("checked").replaceChildren(); ready(); }
$("parameters").addEventListener("change", () => { estimate(); if (checked) patches().catch(() => {}); });

function ready() {
  const upload = value("where") === "upload";
  const full = upload ? chosen.source.length && (!pairs() || chosen.target.length) : $("source-place").value && (!pairs() || $("target-place").value);
  $("check").disabled = !(full && families.length);
  $("start").disabled = !(full && families.length && $("name").checkValidity());
}

// Everything in its place on the server; uploads what is not there yet.
async function settle() {
  if (places) return places;
  if (value("where") !== "upload") return (places = { source: $("source-place").value, target: pairs() ? $("target-place").value : null });
  data ??= await (await send("/v1/data", { name: $("name").value || "from the page" })).json();
  const all = ["source", "target"].flatMap((folder) => (folder === "target" && !pairs() ? [] : chosen[folder].map((file) => [folder, file])));
  const total = all.reduce((sum, [, file]) => sum + file.size, 0) || 1;
  let done = 0;
  $("upload-bar").hidden = false;
  for (const [i, [folder, file]] of all.entries()) {
    await upload(`/v1/data/${data.id}/files/${folder}/${encodeURIComponent(file.name)}`, file, (sent) => {
      $("upload-bar").value = (done + sent) / total;
      $("uploaded").textContent = `File ${i + 1} of ${all.length}, ${bytes(done + sent)} of ${bytes(total)}`;
    });
    done += file.size;
  }
  $("upload-bar").hidden = true;
  $("uploaded").textContent = all.length === 1 ? "The file is on the server." : `${all.length} files are on the server.`;
  return (places = { source: `data:${data.id}/source`, target: pairs() ? `data:${data.id}/target` : null });
}

async function upload(address, file, told) {
  if (file.size <= PART) { await ask(address, { method: "PUT", body: file }); return told(file.size); }
  let at = 0, tries = 0;
  while (at < file.size) {
    const end = Math.min(at + PART, file.size);
    try {
      await ask(address, { method: "PUT", body: file.slice(at, end), headers: { "Content-Range": `bytes ${at}-${end - 1}/${file.size}` } });
      at = end; tries = 0;
    } catch (error) {
      if (error.status || ++tries > 5) throw error;
      await new Promise((again) => setTimeout(again, 1000 * tries));
      const head = await fetch(address, { method: "HEAD" });
      at = Number(head.headers.get("Upload-Offset") ?? 0);
    }
    told(at);
  }
}

$("check").addEventListener("click", async () => {
  show($("problem"), null);
  $("check").disabled = true;
  try { await check(); } catch (error) { show($("problem"), error); }
  ready();
});

async function check() {
  const where = await settle();
  $("uploaded").textContent = "Reading the images …";
  let said;
  try { said = await (await send("/v1/data/check", { family: family().name, ndim: +value("ndim"), ...where, parameters: form.values() })).json(); }
  finally { $("uploaded").textContent = ""; }
  const wrong = said.mismatches ?? [], what = pairs() ? "pair" : "image";
  const lines = [el("p", { class: `alert ${wrong.length ? "bad" : "good"}`, role: "status" }, wrong.length ? "The images cannot be trained on as they are:" : `${said.pairs} ${what}${said.pairs === 1 ? " fits" : "s fit"}. ${said.sentence ?? ""}`)];
  if (wrong.length) lines.push(el("ul", {}, ...wrong.map((w) => el("li", {}, w))));
  lines.push(...(said.notes ?? []).map((note) => el("p", { class: "alert warn small" }, note)));
  if (said.previews?.length) lines.push(el("p", { class: "soft small" }, pairs() ? "Images beside their targets:" : "The first images:"), el("div", { class: `previews ${pairs() ? "pairs" : ""}` }, ...said.previews.map((p, i) => el("img", { src: p.address, alt: `${pairs() ? "Pair" : "Image"} ${i + 1}` }))));
  $("checked").replaceChildren(...lines, el("div", { id: "patches" }));
  checked = !wrong.length;
  pixels = said.pixels || null;
  estimate();
  if (checked) await patches().catch(() => {});
}

// The first image, where the browser has it or may read it.
async function firstImage() {
  if (value("where") === "upload") return chosen.source[0];
  const [, id, folder] = /^data:([^/]+)\/?(.*)$/.exec(places.source) ?? [];
  if (!id) return null;
  const { files } = await json(`/v1/data/${id}`);
  const first = files.find((f) => f.path.startsWith(folder));
  return first ? (await ask(first.address)).blob() : null;
}

// What the network will see: patches from the first image, turned and flipped as in training.
async function patches() {
  const first = await firstImage();
  if (!first) return;
  const image = await openImage(first);
  const asked = parseInt($("p-patch_size")?.value, 10);
  const size = Math.min(Number.isFinite(asked) ? asked : 64, image.width, image.height);
  const place = { z: Math.floor(image.sizes.z / 2) };
  const whole = paint(image, place, image.rgb ? [0, 255] : image.range(place).slice(2));
  const augmented = $("p-use_data_augmentation")?.value !== "false";
  const shown = [];
  for (let i = 0; i < 8; i++) {
    const patch = document.createElement("canvas");
    patch.width = patch.height = size;
    const context = patch.getContext("2d");
    if (augmented) { context.translate(size / 2, size / 2); context.rotate(((i % 4) * Math.PI) / 2); if (i > 3) context.scale(-1, 1); context.translate(-size / 2, -size / 2); }
    // Places from a low-discrepancy sequence: spread over the image, the same every time.
    const x = Math.floor(((i * 0.7548) % 1) * (image.width - size)), y = Math.floor(((i * 0.5698) % 1) * (image.height - size));
    context.drawImage(whole, x, y, size, size, 0, 0, size, size);
    patch.setAttribute("role", "img");
    patch.setAttribute("aria-label", `Patch ${i + 1}`);
    shown.push(patch);
  }
  $("patches").replaceChildren(el("p", { class: "soft small" }, `Patches of ${size} × ${size} pixels${augmented ? ", turned and flipped as in training" : ""}:`), el("div", { class: "patches" }, ...shown));
}

// What it will take, by what trainings of its kind took here; asked anew with every change.
const PAUSE_MS = 400;
let asked = 0;
async function estimate() {
  const mine = ++asked;
  await new Promise((later) => setTimeout(later, PAUSE_MS));
  if (mine !== asked) return;
  const order = { family: family().name, ndim: +value("ndim"), preset: value("preset"), parameters: form.values(), ...(pixels ? { pixels } : {}) };
  let line;
  try { line = el("p", { class: "alert" }, (await (await send("/v1/jobs/estimate", order)).json()).sentence); }
  catch (error) { line = error.status === 404 ? null : el("p", { class: "alert warn" }, error.message); }
  if (mine === asked) $("estimate").replaceChildren(...(line ? [line] : []));
}

// --- starting -------------------------------------------------------------------------------
$("train").addEventListener("submit", async (event) => {
  event.preventDefault();
  show($("problem"), null);
  $("start").disabled = true;
  try {
    if (!checked) await check();
    if (!checked) throw new Problem("Mend what the check found, or choose other images.");
    const order = { kind: "train", family: family().name, name: $("name").value, ndim: +value("ndim"), preset: value("preset"), ...(await settle()), parameters: form.values() };
    const answer = await send("/v1/jobs", order);
    const job = await answer.json();
    location.href = `/jobs/${job.id}`;
  } catch (error) { show($("problem"), error); ready(); }
});

begin();
