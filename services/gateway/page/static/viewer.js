// Images in grey values on a canvas: contrast, slices, zoom, a second image behind a swipe, labels as outlines.
// The server decodes; here are only raw numbers. Knows no models.
import { ask } from "./dom.js";

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };

// A file (or any blob) to planes that can be drawn.
export async function openImage(blob, options = {}) {
  const answer = await ask("/v1/pixels", { ...options, method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" } });
  const facts = JSON.parse(answer.headers.get("X-Micserve-Image"));
  return new Pixels(facts, new ARRAYS[facts.dtype](await answer.arrayBuffer()));
}

export class Pixels {
  constructor(facts, data) {
    this.facts = facts;
    this.data = data;
    const s = facts.sizes;
    this.width = s.X; this.height = s.Y; this.samples = s.S;
    this.sizes = { t: s.T, z: s.Z, c: s.C };
    this.rgb = s.S === 3;
  }
  plane({ t = 0, z = 0, c = 0 }) {
    const at = (axis, i) => Math.min(i, this.sizes[axis] - 1);
    const number = (at("t", t) * this.sizes.z + at("z", z)) * this.sizes.c + at("c", c);
    const length = this.width * this.height * this.samples;
    return this.data.subarray(number * length, (number + 1) * length);
  }
  // [lowest, highest, low percentile, high percentile] of one plane, from a sample of its pixels.
  range(place) {
    const plane = this.plane(place);
    const stride = Math.max(1, Math.floor(plane.length / 40000));
    const sample = [];
    for (let i = 0; i < plane.length; i += stride) if (Number.isFinite(plane[i])) sample.push(plane[i]);
    if (!sample.length) return [0, 1, 0, 1];
    sample.sort((a, b) => a - b);
    const q = (f) => sample[Math.min(sample.length - 1, Math.floor(f * sample.length))];
    return [sample[0], sample[sample.length - 1], q(0.002), q(0.998)];
  }
  get looksLikeLabels() { return this._labels ?? (this._labels = false); }
  set looksLikeLabels(value) { this._labels = value; }
}

// A plane as a canvas of its own size.
export function paint(pixels, place, [low, high]) {
  const canvas = document.createElement("canvas");
  canvas.width = pixels.width; canvas.height = pixels.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(pixels.width, pixels.height);
  const out = new Uint32Array(image.data.buffer);
  const plane = pixels.plane(place);
  const gain = 255 / Math.max(high - low, 1e-12);
  if (pixels.rgb) {
    for (let i = 0, j = 0; i < out.length; i++, j += 3)
      out[i] = 0xff000000 | (byte(plane[j + 2], low, gain) << 16) | (byte(plane[j + 1], low, gain) << 8) | byte(plane[j], low, gain);
  } else {
    for (let i = 0; i < out.length; i++) { const v = byte(plane[i], low, gain); out[i] = 0xff000000 | (v << 16) | (v << 8) | v; }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

const byte = (value, low, gain) => { const v = (value - low) * gain; return v > 0 ? (v < 255 ? v | 0 : 255) : 0; };

// Outlines of labels in colours that neighbours do not share; transparent elsewhere. Filled when `fill`.
export function paintLabels(pixels, place, fill) {
  const { width, height } = pixels;
  const canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  const plane = pixels.plane(place);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const label = plane[i];
      if (!label) continue;
      const edge = x === 0 || y === 0 || x === width - 1 || y === height - 1 ||
        plane[i - 1] !== label || plane[i + 1] !== label || plane[i - width] !== label || plane[i + width] !== label;
      if (edge || fill) out[i] = colour(label);
    }
  context.putImageData(image, 0, 0);
  return canvas;
}

function colour(label) {
  const hue = (label * 137.508) % 360, f = (n) => { const k = (n + hue / 60) % 6; return Math.round(255 * (1 - 0.85 * Math.max(0, Math.min(k, 4 - k, 1)))); };
  return (0xff000000 | (f(1) << 16) | (f(3) << 8) | f(5)) >>> 0;
}

export class Viewer {
  constructor(canvas, moved = () => {}) {
    this.canvas = canvas; this.moved = moved;
    this.before = this.after = null;
    this.place = { t: 0, z: 0, c: 0 };
    this.window = [0, 1]; this.afterWindow = null;
    this.swipe = 0.5; this.outlines = true;
    this.scale = 1; this.x = 0; this.y = 0;
    this._painted = {};
    new ResizeObserver(() => this.resize()).observe(canvas);
    this._listen();
  }
  show(before) { this.before = before; this.after = null; this.place = { t: 0, z: 0, c: 0 }; this.repaint(); this.fit(); }
  compare(after, window) { this.after = after; this.afterWindow = window; this.repaint(); }
  repaint() { this._painted = {}; this.draw(); }
  resize() {
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this._fitted) this.fit(); else this.draw();
  }
  fit() {
    if (!this.before) return;
    const { width, height } = this.canvas;
    this.scale = Math.min(width / this.before.width, height / this.before.height);
    this.x = (width - this.before.width * this.scale) / 2;
    this.y = (height - this.before.height * this.scale) / 2;
    this._fitted = true;
    this.draw();
  }
  zoom(factor, px = this.canvas.width / 2, py = this.canvas.height / 2) {
    const scale = Math.min(64, Math.max(0.02, this.scale * factor)), f = scale / this.scale;
    this.x = px - (px - this.x) * f; this.y = py - (py - this.y) * f;
    this.scale = scale; this._fitted = false;
    this.draw();
  }
  pan(dx, dy) { this.x += dx; this.y += dy; this._fitted = false; this.draw(); }
  // What is seen, in pixels of the image: x, y, width, height.
  visible() {
    const { width, height } = this.canvas, b = this.before;
    const left = Math.max(0, Math.floor(-this.x / this.scale)), top = Math.max(0, Math.floor(-this.y / this.scale));
    const right = Math.min(b.width, Math.ceil((width - this.x) / this.scale)), bottom = Math.min(b.height, Math.ceil((height - this.y) / this.scale));
    return { x: left, y: top, width: Math.max(1, right - left), height: Math.max(1, bottom - top) };
  }
  _layer(which) {
    return (this._painted[which] ??= (() => {
      if (which === "before") return paint(this.before, this.place, this.window);
      if (this.after.looksLikeLabels) return paintLabels(this.after, this.place, !this.outlines);
      return paint(this.after, this.place, this.afterWindow ?? this.window);
    })());
  }
  draw() {
    const context = this.canvas.getContext("2d"), { width, height } = this.canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.before) return;
    context.imageSmoothingEnabled = this.scale < 1;
    const place = (layer) => context.drawImage(layer, this.x, this.y, this.before.width * this.scale, this.before.height * this.scale);
    place(this._layer("before"));
    if (!this.after) return;
    const split = this.x + this.before.width * this.scale * this.swipe;
    context.save();
    context.beginPath(); context.rect(split, 0, width - split, height); context.clip();
    if (!this.after.looksLikeLabels || !this.outlines) { context.fillStyle = "#000"; context.fillRect(this.x, this.y, this.before.width * this.scale, this.before.height * this.scale); }
    place(this._layer("after"));
    context.restore();
    context.fillStyle = "#55c9c1"; context.fillRect(split - 1, 0, 2 * (devicePixelRatio || 1), height);
  }
  _listen() {
    const c = this.canvas, ratio = () => devicePixelRatio || 1;
    const point = (event) => { const box = c.getBoundingClientRect(); return [(event.clientX - box.left) * ratio(), (event.clientY - box.top) * ratio()]; };
    let held = null;
    c.addEventListener("pointerdown", (event) => { held = point(event); c.setPointerCapture(event.pointerId); });
    c.addEventListener("pointerup", () => { held = null; });
    c.addEventListener("pointermove", (event) => {
      const [px, py] = point(event);
      if (held) { this.pan(px - held[0], py - held[1]); held = [px, py]; }
      if (!this.before) return;
      const x = Math.floor((px - this.x) / this.scale), y = Math.floor((py - this.y) / this.scale);
      this.moved(x, y, x >= 0 && y >= 0 && x < this.before.width && y < this.before.height);
    });
    c.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...point(event)); }, { passive: false });
    c.addEventListener("keydown", (event) => {
      const step = 40 * ratio();
      const act = { ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0), ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step), "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8), 0: () => this.fit() }[event.key];
      if (act) { event.preventDefault(); act(); }
    });
  }
}
