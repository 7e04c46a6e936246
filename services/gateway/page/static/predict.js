// The Predict page: from a file to a result beside it.
import { $, ask, bytes, download, dropZone, el, json, parameterForm, show } from "./dom.js";
import { openImage, paint, paintLabels, Viewer } from "./viewer.js";

const models = JSON.parse($("models").textContent);
const asked = new URLSearchParams(location.search);
const LABELS = new Set(["labels"]);
const LIGHTS = { green: "good", amber: "warn", red: "bad" };
const CROP = 256;
const capital = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}.`.replace("..", ".") : "");
let file = null, image = null, detail = null, form = null, running = null, bounds = [0, 1];

const viewer = new Viewer($("canvas"), (x, y, inside) => {
  $("readout").hidden = !inside;
  if (!inside) return;
  const value = (pixels) => { const i = (y * pixels.width + x) * pixels.samples; return [...pixels.plane(viewer.place).subarray(i, i + pixels.samples)].map((v) => +v.toPrecision(5)).join(" "); };
  const step = image.facts.step;
  $("readout").textContent = `x ${x * step}, y ${y * step}: ${value(image)}${viewer.after ? " → " + value(viewer.after) : ""}`;
});

// --- the image -------------------------------------------------------------------------------
async function open(chosen) {
  show($("problem"), null);
  file = chosen;
  await working(`Reading ${file.name} …`, async (signal) => {
    image = await openImage(file, { signal });
    $("empty").hidden = true;
    $("controls").hidden = false;
    $("result").hidden = $("tried").hidden = true;
    for (const id of ["label-before", "label-after", "row-swipe", "outline-row"]) $(id).hidden = true;
    viewer.show(image);
    for (const axis of ["z", "c", "t"]) {
      $(`row-${axis}`).hidden = image.sizes[axis] < 2;
      $(axis).max = image.sizes[axis] - 1;
      $(axis).value = 0;
      tell(axis);
    }
    contrast();
    const { full, facts } = { full: image.facts.full, facts: image.facts };
    $("facts").textContent = `${file.name}: ${full.X} × ${full.Y} px, ${facts.axes}, ${facts.file_dtype}${facts.pixel_size_um ? `, ${+facts.pixel_size_um.X.toPrecision(3)} µm per pixel` : ""}${facts.step > 1 ? `; every ${facts.step}. pixel is shown` : ""}`;
  });
  ready();
}

function contrast() {
  const [lowest, highest, low, high] = image.range(viewer.place);
  bounds = image.rgb ? [0, 255] : [lowest, highest > lowest ? highest : lowest + 1];
  const place = (value) => Math.round((1000 * (value - bounds[0])) / (bounds[1] - bounds[0]));
  $("low").value = image.rgb ? 0 : place(low);
  $("high").value = image.rgb ? 1000 : place(high > low ? high : bounds[1]);
  applyContrast();
}

function applyContrast() {
  const value = (id) => bounds[0] + ((bounds[1] - bounds[0]) * $(id).value) / 1000;
  const low = value("low"), high = Math.max(value("high"), low + (bounds[1] - bounds[0]) / 1000);
  viewer.window = [low, high];
  $("low-out").textContent = +low.toPrecision(5);
  $("high-out").textContent = +high.toPrecision(5);
  viewer.repaint();
}

function tell(axis) {
  viewer.place[axis] = +$(axis).value;
  $(`${axis}-out`).textContent = `${+$(axis).value + 1} of ${image.sizes[axis]}`;
}

for (const axis of ["z", "c", "t"]) $(axis).addEventListener("input", () => { tell(axis); afterContrast(); viewer.repaint(); });
for (const id of ["low", "high"]) $(id).addEventListener("input", applyContrast);
$("auto").addEventListener("click", contrast);
$("fit").addEventListener("click", () => viewer.fit());
$("swipe").addEventListener("input", () => { viewer.swipe = $("swipe").value / 1000; viewer.draw(); });
$("outline").addEventListener("change", () => { viewer.outlines = $("outline").checked; viewer.repaint(); });
dropZone(document.querySelector("[data-drop]"), ([first]) => open(first).catch(tellProblem));
$("another").addEventListener("change", () => { if ($("another").files.length) open($("another").files[0]).catch(tellProblem); });
$("stage").addEventListener("dragover", (event) => event.preventDefault());
$("stage").addEventListener("drop", (event) => { event.preventDefault(); if (image && event.dataTransfer.files.length) open(event.dataTransfer.files[0]).catch(tellProblem); });

// --- the model -------------------------------------------------------------------------------
async function choose() {
  const name = $("model").value;
  if (!name) return;
  detail = await json(`/v1/models/${name}`);
  const wanted = asked.get("model") === name ? asked.get("version") : null;
  $("version").replaceChildren(...detail.versions.map((v) => el("option", { value: v.version, selected: wanted ? String(v.version) === wanted : v.version === detail.production }, `${v.version}${v.aliases.length ? ` (${v.aliases.join(", ")})` : ""}`)));
  form = parameterForm($("parameters"), detail.versions[0].parameters, ["version", "output"]);
  ready();
}
$("model").addEventListener("change", () => choose().catch(tellProblem));
if (asked.get("model")) $("model").value = asked.get("model");
choose().catch(tellProblem);

function ready() {
  const possible = Boolean(image && detail) && !running;
  for (const id of ["run", "try", "as-job"]) if ($(id)) $(id).disabled = !possible;
}

// --- predicting ------------------------------------------------------------------------------
const address = (name, version, more = {}) => `/v1/models/${name}/predict?${new URLSearchParams({ version, ...more })}`;
const post = (url, body, signal) => ask(url, { method: "POST", body, signal, headers: { "Content-Type": "application/octet-stream" } });

$("ask").addEventListener("submit", (event) => { event.preventDefault(); predict().catch(tellProblem); });

async function predict() {
  show($("problem"), null);
  const version = $("version").value, outputs = models.find((m) => m.name === detail.name).outputs;
  const shown = outputs.includes("labels") ? "labels" : outputs[0];
  await working(`${detail.name} is at work …`, async (signal) => {
    const answer = await post(address(detail.name, version, { ...form.values(), output: shown }), file, signal);
    const blob = await answer.blob();
    viewer.outlines = $("outline").checked;
    const after = await openImage(blob, { signal });
    after.looksLikeLabels = LABELS.has(shown);
    viewer.compare(after, null);
    afterContrast();
    viewer.repaint();
    $("row-swipe").hidden = $("label-before").hidden = $("label-after").hidden = false;
    $("outline-row").hidden = !after.looksLikeLabels;
    tellResult(answer, blob, shown, outputs, version);
  });
}

// A restored image has its own scale where its values are of another size.
function afterContrast() {
  if (!viewer.after || viewer.after.looksLikeLabels) return;
  const [, , low, high] = viewer.after.range(viewer.place);
  viewer.afterWindow = [low, high > low ? high : low + 1];
}

function tellResult(answer, blob, shown, outputs, version) {
  const header = (name) => answer.headers.get(`X-Micserve-${name}`) ?? "";
  const [light, ...reason] = header("Trust").split(";");
  const warnings = header("Warnings");
  $("trust").replaceChildren(
    ...(light ? [el("p", { class: `alert ${LIGHTS[light.trim()] ?? ""}` }, el("strong", {}, `Trust light: ${light.trim()}.`), ` ${capital(reason.join(";").trim())}`)] : []),
    ...(warnings ? [el("p", { class: "alert warn" }, warnings)] : []));
  const seconds = /(?:^|, )total;dur=([\d.]+)/.exec(answer.headers.get("Server-Timing") ?? "")?.[1];
  const facts = { Model: `${header("Model")}, version ${header("Version")}`, Digest: `${header("Digest").slice(0, 23)}…`, Size: bytes(blob.size), ...(seconds ? { Time: `${(seconds / 1000).toFixed(1)} s` } : {}) };
  $("made-by").replaceChildren(...Object.entries(facts).flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]));
  const stem = file.name.replace(/\.[^.]+$/, "");
  const endings = { image: ["tif", "Image"], labels: ["tif", "Labels"], rois: ["zip", "ROIs for ImageJ"], table: ["csv", "Table"], bundle: ["zip", "Everything (zip)"], trust: ["tif", "Trust maps (TIFF)"] };
  const links = [download(blob, `${stem}-${detail.name}.tif`, `${endings[shown]?.[1] ?? shown} (TIFF)`)];
  const sent = file, name = detail.name, values = form.values();
  const more = outputs.filter((o) => o !== shown).map((output) => [output, { output }]);
  if (LIGHTS[light?.trim()]) more.push(["trust", { output: shown, trust: "maps" }]);
  for (const [output, query] of more) {
    const [ending, title] = endings[output] ?? ["bin", output];
    links.push(el("button", { class: "button quiet low", type: "button", onclick: async (event) => {
      const button = event.currentTarget;
      await working(`Making ${title} …`, async (signal) => {
        const made = await (await post(address(name, version, { ...values, ...query }), sent, signal)).blob();
        const link = download(made, `${stem}-${name}-${output}.${ending}`, title);
        button.replaceWith(link);
        link.click();
      }).catch(tellProblem);
    } }, title));
  }
  $("downloads").replaceChildren(...links);
  $("result").hidden = false;
}

// A large image goes on without this page; its result is found again under Jobs.
$("as-job")?.addEventListener("click", () => working("Sending the image …", async (signal) => {
  show($("problem"), null);
  const asked = new URLSearchParams({ version: $("version").value, ...form.values() });
  location.href = `/jobs/${(await (await post(`/v1/models/${detail.name}/jobs?${asked}`, file, signal)).json()).id}`;
}).catch(tellProblem));

// --- all that fit ----------------------------------------------------------------------------
const fits = (model) => (model.axes.includes("Z") ? image.sizes.z > 1 : true) && (image.rgb ? model.channels === 3 : model.channels <= Math.max(1, image.sizes.c));

$("try").addEventListener("click", () => tryAll().catch(tellProblem));

async function tryAll() {
  show($("problem"), null);
  const seen = viewer.visible(), step = image.facts.step;
  const width = Math.min(CROP, seen.width * step), height = Math.min(CROP, seen.height * step);
  const x = Math.max(0, Math.round(seen.x * step + (seen.width * step - width) / 2)), y = Math.max(0, Math.round(seen.y * step + (seen.height * step - height) / 2));
  $("gallery").replaceChildren();
  $("tried").hidden = false;
  await working("Cutting a crop …", async (signal) => {
    const crop = await (await post(`/v1/crop?${new URLSearchParams({ x, y, width, height })}`, file, signal)).blob();
    const source = await openImage(crop, { signal });
    const window = source.range(viewer.place).slice(2);
    const whole = paint(source, viewer.place, source.rgb ? [0, 255] : viewer.window ?? window);
    gallery(whole, "Unprocessed");
    const chosen = models.filter(fits);
    for (const [i, model] of chosen.entries()) {
      $("busy-text").textContent = `${model.name} (${i + 1} of ${chosen.length}) …`;
      await one(model, crop, whole, signal);
    }
    if (!chosen.length) $("gallery").append(el("p", { class: "soft" }, "No model fits this image's axes."));
  });
}

async function one(model, crop, whole, signal) {
  const labels = model.outputs.includes("labels");
  try {
    const answer = await post(address(model.name, model.production ?? model.latest, { output: labels ? "labels" : model.outputs[0], ...(image.sizes.c > 1 && model.channels === 1 ? { channel: viewer.place.c + 1 } : {}) }), crop, signal);
    const result = await openImage(await answer.blob(), { signal });
    const picture = document.createElement("canvas");
    picture.width = result.width; picture.height = result.height;
    const context = picture.getContext("2d");
    if (labels) { context.drawImage(whole, 0, 0); context.drawImage(paintLabels(result, viewer.place, false), 0, 0); }
    else context.drawImage(paint(result, viewer.place, result.range(viewer.place).slice(2)), 0, 0);
    gallery(picture, el("span", {}, el("strong", {}, model.name), ` ${model.title} `, el("button", { class: "button quiet low", type: "button", onclick: () => { $("model").value = model.name; choose().then(() => $("run").focus()).catch(tellProblem); } }, "Choose")));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    $("gallery").append(el("figure", {}, el("p", { class: "alert small" }, error.message), el("figcaption", {}, el("strong", {}, model.name))));
  }
}

function gallery(canvas, caption) {
  const words = typeof caption === "string" ? caption : caption.textContent;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words.replace("Choose", "").trim());
  $("gallery").append(el("figure", {}, canvas, el("figcaption", {}, caption)));
}

// --- being busy ------------------------------------------------------------------------------
async function working(words, work) {
  running?.abort();
  const mine = (running = new AbortController());
  $("busy").hidden = false;
  $("busy-text").textContent = words;
  ready();
  try { await work(mine.signal); }
  finally { if (running === mine) { running = null; $("busy").hidden = true; ready(); } }
}
$("stop").addEventListener("click", () => running?.abort());
function tellProblem(error) { if (error.name !== "AbortError") show($("problem"), error); }
