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
    const address = await begun();
    const page = await (await ask(address, { headers: { Accept: "text/html" } })).blob();
    $("frame").src = URL.createObjectURL(page);
    $("report").hidden = false;
    const stem = files.target.name.replace(/\.[^.]+$/, "");
    $("downloads").replaceChildren(download(page, `qc-${stem}.html`, "Page"), later(address, "text/csv", `qc-${stem}.csv`, "Table"), later(address, "application/pdf", `qc-${stem}.pdf`, "PDF"), later(address, "application/zip", `qc-${stem}.zip`, "All, with maps (zip)"));
    $("report").scrollIntoView({ block: "start" });
  } catch (error) { show($("problem"), error); }
  finally { button.disabled = false; $("busy").hidden = $("cancel").hidden = true; }
});

// Begin a report, show how far it is, and return the address of what is finished.
async function begun() {
  const form = new FormData();
  if (how() === "model") form.append("model", $("model").value);
  else if ($("kind").value !== "restoration") { form.append("kind", "segmentation"); form.append("numbers", $("kind").value); }
  for (const name of how() === "model" ? ["source", "target"] : ["prediction", "target", "source"]) if (files[name]) form.append(name, files[name]);
  $("busy").textContent = "Sending …";
  let state = await (await ask("/v1/qc", { method: "POST", body: form, headers: { Accept: "application/json", Prefer: "respond-async" } })).json();
  let wanted = true;
  $("cancel").onclick = () => { wanted = false; };
  $("cancel").hidden = false;
  while (state.state === "queued" || state.state === "running") {
    const left = state.seconds_left === null ? "" : `, about ${Math.ceil(state.seconds_left)} s left`;
    $("busy").textContent = `${Math.round(100 * state.fraction)} %: ${state.message}${left}`;
    await new Promise((resolve) => setTimeout(resolve, 400));
    if (!wanted) {
      await ask(state.address, { method: "DELETE" });
      throw new Error("The report was cancelled.");
    }
    state = await (await ask(state.address)).json();
  }
  if (state.error) throw new Error(state.error.detail);
  return state.report;
}

function later(address, accept, name, title) {
  return el("button", { class: "button quiet low", type: "button", onclick: async (event) => {
    const button = event.currentTarget;
    try { const link = download(await (await ask(address, { headers: { Accept: accept } })).blob(), name, title); button.replaceWith(link); link.click(); }
    catch (error) { show($("problem"), error); }
  } }, title);
}
