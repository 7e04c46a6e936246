// What all scripts share: making elements, asking the server, drop zones, words for numbers.
export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export class Problem extends Error {
  constructor(detail, status) { super(detail); this.status = status; }
}

// A response that went well; else a Problem with the server's own sentence.
export async function ask(url, options = {}) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Check the connection and try again.", 0);
  }
  if (answer.ok) return answer;
  let detail = `The server answered ${answer.status}.`;
  try { detail = (await answer.json()).detail || detail; } catch { /* not a problem document */ }
  throw new Problem(detail, answer.status);
}

export const json = async (url, options) => (await ask(url, options)).json();

export const send = (url, body, method = "POST") =>
  ask(url, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export function show(box, error) {
  box.hidden = !error;
  box.textContent = error ? error.message : "";
  if (error) box.scrollIntoView({ block: "nearest" });
}

// A label with a file input becomes a place to drop files on; tells `chosen(files)`.
export function dropZone(zone, chosen) {
  const input = zone.querySelector("input[type=file]");
  const title = zone.querySelector("[data-drop-title]");
  const words = title?.textContent;
  const take = (files) => {
    if (!files.length) return;
    zone.classList.add("full");
    if (title) title.textContent = files.length === 1 ? files[0].name : `${files.length} files`;
    chosen([...files]);
  };
  input.addEventListener("change", () => take(input.files));
  for (const kind of ["dragenter", "dragover"])
    zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
  for (const kind of ["dragleave", "drop"])
    zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files); });
  return { clear() { input.value = ""; zone.classList.remove("full"); if (title) title.textContent = words; } };
}

export function duration(seconds) {
  if (seconds == null || seconds === "") return "";
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return `${(s / 3600).toFixed(1)} h`;
}

export function bytes(n) {
  if (n == null) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export const when = (text) => (text ? new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "");

export function download(blob, name, title, className = "button quiet low") {
  return el("a", { class: className, href: URL.createObjectURL(blob), download: name }, title);
}

// Inputs for parameters described as JSON Schema or as the family's list; `values()` has only what was changed.
export function parameterForm(box, parameters, skip = []) {
  box.replaceChildren();
  const read = [];
  for (const p of parameters) {
    if (skip.includes(p.name)) continue;
    const id = `p-${p.name}`;
    const options = p.enum ?? p.choices ?? (p.anyOf ?? []).flatMap((one) => one.enum ?? (one.const != null ? [one.const] : []));
    const kind = p.type ?? (p.anyOf ?? []).map((one) => one.type).find((t) => t && t !== "null");
    const start = p.default == null ? "" : String(p.default);
    let input;
    if (kind === "boolean" || kind === "bool")
      input = el("select", { id }, ...["true", "false"].map((v) => el("option", { value: v, selected: v === start }, v === "true" ? "yes" : "no")));
    else if (options.length && !["integer", "number", "int", "float"].includes(kind))
      input = el("select", { id }, ...options.map((v) => el("option", { value: v ?? "", selected: String(v) === start }, v == null ? "none" : String(v))));
    else input = el("input", { id, value: start, spellcheck: "false", inputmode: ["integer", "number"].includes(kind) && !options.length ? "decimal" : null, autocomplete: "off" });
    const range = p.range ?? [p.minimum ?? p.exclusiveMinimum, p.maximum];
    const hint = [p.description ?? p.help, Array.isArray(range) && range[0] != null && range[1] != null ? `${range[0]} to ${range[1]}.` : ""].filter(Boolean).join(" ");
    box.append(el("div", { class: "field" }, el("label", { for: id }, p.name), input, hint ? el("p", { class: "hint", id: `${id}-hint` }, hint) : null));
    if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
    read.push([p.name, input, input.value, kind]);
  }
  return {
    values: () => Object.fromEntries(read.filter(([, input, before]) => input.value !== before && input.value !== "").map(([name, input, , kind]) => [name, typed(input.value, kind)])),
    preset: (values) => { for (const row of read) if (row[0] in values) { row[1].value = row[2] = values[row[0]] == null ? "" : String(values[row[0]]); } },
  };
}

function typed(text, kind) {
  if (kind === "boolean" || kind === "bool") return text === "true";
  return text.trim() !== "" && !Number.isNaN(Number(text)) && kind !== "string" && kind !== "str" ? Number(text) : text;
}
