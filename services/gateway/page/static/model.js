// A model's page: tabs, reports as pages, and the promotion's dialogue.
import { $, ask, el, json, send, show } from "./dom.js";
import { gateView } from "./gate.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
function choose(tab) {
  for (const one of tabs) {
    one.setAttribute("aria-selected", one === tab);
    one.tabIndex = one === tab ? 0 : -1;
    $(one.getAttribute("aria-controls")).hidden = one !== tab;
  }
}
tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { const next = tabs[(i + step + tabs.length) % tabs.length]; choose(next); next.focus(); }
  });
});

// Reports are kept in several forms; a browser's own link would ask for whatever comes first.
for (const link of document.querySelectorAll("[data-report]"))
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const tab = window.open("", "_blank");
    try { tab.location = URL.createObjectURL(await (await ask(link.href, { headers: { Accept: "text/html" } })).blob()); }
    catch (error) { tab.close(); link.after(el("span", { class: "alert bad", role: "alert" }, error.message)); }
  });

const dialog = $("promote");
const form = dialog.querySelector("form");
const problem = form.querySelector("[role=alert]");
for (const button of document.querySelectorAll("[data-promote]"))
  button.addEventListener("click", async () => {
    const version = button.dataset.promote;
    form.dataset.version = version;
    form.querySelector("[data-version]").textContent = version;
    const gate = form.querySelector("[data-gate]");
    gate.replaceChildren(el("p", { class: "soft" }, "Comparing …"));
    form.force.checked = false;
    form.querySelector("[data-force]").hidden = true;
    show(problem, null);
    dialog.showModal();
    try {
      const verdict = await json(`/v1/models/${form.dataset.name}/versions/${version}/gate`);
      gate.replaceChildren(...gateView(verdict));
      const stopped = Boolean(verdict.objection);
      form.querySelector("[data-force]").hidden = !stopped;
      form.reason.required = stopped;
    } catch (error) { show(problem, error); }
  });
form.querySelector("[data-close]").addEventListener("click", () => dialog.close());
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await send(`/v1/models/${form.dataset.name}/promote`, { version: Number(form.dataset.version), alias: "production", reason: form.reason.value, force: form.force.checked });
    location.reload();
  } catch (error) { show(problem, error); }
});
