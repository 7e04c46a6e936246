// The Quality control page: three images to a report.
import { $, ask, download, dropZone, el, show } from "./dom.js";

const files = {};
for (const zone of document.querySelectorAll("[data-drop]")) {
  const name = zone.querySelector("input").name;
  dropZone(zone, ([first]) => { files[name] = first; });
}
const how = () => document.querySelector("[name=how]:checked").value;
function arrange() { $("model-row").hidden = how() !== "model"; $("prediction-row").hidden = $("kind-row").hidden = how() === "model"; }
for (const radio of document.querySelectorAll("[name=how]")) radio.addEventListener("change", arrange);
const asked = new URLSearchParams(location.search).get("model");
if (asked) {
  document.querySelector("[name=how][value=model]").checked = true;
  if (![...$("model").options].some((o) => o.value === asked)) $("model").prepend(el("option", { value: asked }, asked.replace("@", ", version ")));
  $("model").value = asked;
}
arrange();

$("qc").addEventListener("submit", async (event) => {
  event.preventDefault();
  show($("problem"), null);
  const wanted = how() === "model" ? ["target", "source"] : ["prediction", "target"];
  const missing = wanted.filter((name) => !files[name]);
  if (missing.length) return show($("problem"), new Error(`Choose the ${missing.map((m) => (m === "target" ? "ground truth" : m)).join(" and the ")} first.`));
  const button = event.submitter;
  button.disabled = true; $("busy").hidden = false;
  try {
    const page = await (await report("text/html")).blob();
    $("frame").src = URL.createObjectURL(page);
    $("report").hidden = false;
    const stem = files.target.name.replace(/\.[^.]+$/, "");
    $("downloads").replaceChildren(download(page, `qc-${stem}.html`, "Page"), later("text/csv", `qc-${stem}.csv`, "Table"), later("application/pdf", `qc-${stem}.pdf`, "PDF"), later("application/zip", `qc-${stem}.zip`, "All, with maps (zip)"));
    $("report").scrollIntoView({ block: "start" });
  } catch (error) { show($("problem"), error); }
  finally { button.disabled = false; $("busy").hidden = true; }
});

function report(accept) {
  const form = new FormData();
  if (how() === "model") form.append("model", $("model").value);
  else if ($("kind").value !== "restoration") { form.append("kind", "segmentation"); form.append("numbers", $("kind").value); }
  for (const name of how() === "model" ? ["source", "target"] : ["prediction", "target", "source"]) if (files[name]) form.append(name, files[name]);
  return ask("/v1/qc", { method: "POST", body: form, headers: { Accept: accept } });
}

function later(accept, name, title) {
  return el("button", { class: "button quiet low", type: "button", onclick: async (event) => {
    const button = event.currentTarget;
    try { const link = download(await (await report(accept)).blob(), name, title); button.replaceWith(link); link.click(); }
    catch (error) { show($("problem"), error); }
  } }, title);
}
