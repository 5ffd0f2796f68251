// The page: a map of codes, what a point of it decodes to, and what is drawn by hand.
"use strict";

const model = window.JAXAE;
const network = networkOf(model);
const [height, width, channels] = model.shape;
const latent = model.latent;
const images = bytesOf(model.images);
const codes = floatsOf(model.codes);
const labels = model.labels;
const costs = Array.from(floatsOf(model.costs)).sort((a, b) => a - b);
const count = labels.length;
const mean = floatsOf(model.mean);
const components = floatsOf(model.components);
// Okabe and Ito's colours and two more, told apart by people who see few.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8f8300", "#7b5ea7", "#7f7f7f", "#b22222"];
const colourOf = (label) => COLOURS[label % COLOURS.length];
const byId = (id) => document.getElementById(id);

// Axes: principal directions of the codes, then the code's own dimensions.
const principal = components.length / latent;
const axes = [
  ...Array.from({ length: principal }, (_, k) => ({ name: `principal ${k + 1}`, way: components.subarray(k * latent, (k + 1) * latent) })),
  ...Array.from({ length: latent }, (_, k) => ({ name: `dimension ${k + 1}`, way: Float32Array.from({ length: latent }, (_, j) => +(j === k)) })),
];
const nameOf = (label) => model.class_names[label] ?? label;
const within = (value, low, high) => Math.min(Math.max(value, low), high);
const along = (code, { way }, offset = 0) => {
  let sum = 0;
  for (let k = 0; k < latent; k++) sum += way[k] * (code[offset + k] - mean[k]);
  return sum;
};

const state = { code: Float32Array.from(mean), label: 0, x: axes[0], y: axes[Math.min(1, axes.length - 1)], from: 0, to: 1, playing: false };

function paint(canvas, pixels, scale = 1) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    for (let c = 0; c < 3; c++) picture.data[4 * at + c] = Math.round(pixels[at * channels + (channels === 3 ? c : 0)] * scale);
    picture.data[4 * at + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}
const imageAt = (index) => images.subarray(index * width * height * channels, (index + 1) * width * height * channels);
const codeAt = (index) => codes.slice(index * latent, (index + 1) * latent);

// ---- the map
const map = byId("map");
let points = [], bounds = { left: -1, right: 1, bottom: -1, top: 1 };

function project() {
  points = Array.from({ length: count }, (_, i) => [along(codes, state.x, i * latent), along(codes, state.y, i * latent)]);
  const spread = (k) => {
    const sorted = points.map((point) => point[k]).sort((a, b) => a - b);
    const [low, high] = [sorted[0], sorted[count - 1]];
    const room = 0.06 * (high - low) || 1;
    return [low - room, high + room];
  };
  const [[left, right], [bottom, top]] = [spread(0), spread(1)];
  bounds = { left, right, bottom, top };
}
const toScreen = ([x, y]) => [((x - bounds.left) / (bounds.right - bounds.left)) * map.width, (1 - (y - bounds.bottom) / (bounds.top - bounds.bottom)) * map.height];
const toMap = (x, y) => [bounds.left + (x / map.width) * (bounds.right - bounds.left), bounds.bottom + (1 - y / map.height) * (bounds.top - bounds.bottom)];

let ground = null; // the dots, drawn once for each pair of axes and size
function drawGround() {
  const ratio = window.devicePixelRatio || 1;
  const side = Math.max(120, Math.round(map.clientWidth * ratio));
  map.width = map.height = side;
  ground = document.createElement("canvas");
  ground.width = ground.height = side;
  const context = ground.getContext("2d");
  const radius = 2.6 * ratio;
  context.globalAlpha = 0.75;
  points.forEach((point, index) => {
    const [x, y] = toScreen(point);
    context.fillStyle = colourOf(labels[index]);
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  });
}
function drawMap() {
  const context = map.getContext("2d");
  context.clearRect(0, 0, map.width, map.height);
  context.drawImage(ground, 0, 0);
  // A code beyond the map, as of what is drawn, has its ring at the edge.
  const [x, y] = toScreen([along(state.code, state.x), along(state.code, state.y)]).map((at) => within(at, 0, map.width));
  const ratio = window.devicePixelRatio || 1;
  const style = getComputedStyle(document.body);
  for (const [colour, line] of [[style.backgroundColor, 6], [style.color, 3]]) {
    context.strokeStyle = colour;
    context.lineWidth = line * ratio;
    context.beginPath();
    context.arc(x, y, 9 * ratio, 0, 2 * Math.PI);
    context.stroke();
  }
}

// Move the code so that it lies at (x, y) of the map, and nowhere else than it was in all other directions.
function moveTo(x, y) {
  const [a, b] = [state.x.way, state.y.way];
  const dot = (p, q) => p.reduce((sum, value, k) => sum + value * q[k], 0);
  const [aa, ab, bb] = [dot(a, a), dot(a, b), dot(b, b)];
  const [dx, dy] = [x - along(state.code, state.x), y - along(state.code, state.y)];
  const determinant = aa * bb - ab * ab;
  const [s, t] = determinant > 1e-9 ? [(dx * bb - dy * ab) / determinant, (dy * aa - dx * ab) / determinant] : [dx / aa, 0];
  for (let k = 0; k < latent; k++) state.code[k] += s * a[k] + t * b[k];
  show();
}
function show() {
  paint(byId("decoded"), network.decode(state.code, state.label), 255);
  drawMap();
  const at = [state.x, state.y].map((axis) => `${axis.name} ${along(state.code, axis).toFixed(2)}`);
  byId("position").textContent = `The ring: ${at.join(", ")} (no unit).`;
  for (const slider of document.querySelectorAll("#sliders input")) {
    const value = along(state.code, axes[+slider.dataset.axis]);
    slider.value = value;
    slider.nextElementSibling.textContent = value.toFixed(2);
  }
}
function goTo(code, label) {
  state.code = Float32Array.from(code);
  if (label !== undefined) choose(label);
  show();
}

let dragging = false;
const position = (event) => {
  const box = map.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  return [within(x, 0, 1) * map.width, within(y, 0, 1) * map.height];
};
map.addEventListener("pointerdown", (event) => {
  dragging = true;
  byId("hover").style.display = "none";
  map.setPointerCapture(event.pointerId);
  moveTo(...toMap(...position(event)));
});
map.addEventListener("pointermove", (event) => {
  if (dragging) moveTo(...toMap(...position(event)));
  else hover(event);
});
for (const name of ["pointerup", "pointercancel"]) map.addEventListener(name, () => (dragging = false));
map.addEventListener("pointerleave", () => (byId("hover").style.display = "none"));
function hover(event) {
  const [x, y] = position(event);
  let [best, at] = [Infinity, 0];
  points.forEach((point, index) => {
    const [px, py] = toScreen(point);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < best) [best, at] = [distance, index];
  });
  const frame = byId("hover");
  const near = best < (14 * (window.devicePixelRatio || 1)) ** 2;
  frame.style.display = near ? "block" : "none";
  if (!near) return;
  paint(byId("thumbnail"), imageAt(at));
  byId("hover-name").textContent = `class ${nameOf(labels[at])}`;
  const box = map.getBoundingClientRect();
  const [left, top] = [event.clientX - box.left, event.clientY - box.top];
  frame.style.left = `${Math.min(left + 14, box.width - frame.offsetWidth)}px`;
  frame.style.top = `${Math.max(0, top - frame.offsetHeight - 10)}px`;
}
map.addEventListener("keydown", (event) => {
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const way = ways[event.key];
  if (!way) return;
  event.preventDefault();
  const step = event.shiftKey ? 0.1 : 0.02;
  const [x, y] = [along(state.code, state.x), along(state.code, state.y)];
  moveTo(
    within(x + way[0] * step * (bounds.right - bounds.left), bounds.left, bounds.right),
    within(y + way[1] * step * (bounds.top - bounds.bottom), bounds.bottom, bounds.top),
  );
});

// ---- classes, axes, sliders
function choose(label) {
  state.label = label;
  for (const button of byId("classes").children) button.setAttribute("aria-pressed", String(+button.dataset.label === label));
}
for (let label = 0; label < model.classes; label++) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.label = label;
  button.textContent = nameOf(label);
  button.addEventListener("click", () => (choose(label), show()));
  byId("classes").append(button);
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
  const typed = Number(event.key);
  if (event.key.trim() && typed < model.classes && !/INPUT|SELECT/.test(event.target.tagName)) (choose(typed), show());
});
for (const [label] of Object.entries(Array.from({ length: Math.max(...labels) + 1 }))) {
  const item = document.createElement("span");
  item.innerHTML = `<i style="background:${colourOf(+label)}"></i>`;
  item.append(nameOf(label));
  byId("legend").append(item);
}
for (const [id, name] of [["axis-x", "x"], ["axis-y", "y"]]) {
  const select = byId(id);
  axes.forEach((axis, index) => select.add(new Option(axis.name, index)));
  select.value = axes.indexOf(state[name]);
  select.addEventListener("change", () => {
    state[name] = axes[+select.value];
    project();
    drawGround();
    sliders();
    show();
  });
}
function sliders() {
  byId("sliders").replaceChildren();
  if (latent <= 2) return;
  axes.slice(0, principal).forEach((axis, index) => {
    if (axis === state.x || axis === state.y) return;
    const values = Array.from({ length: count }, (_, i) => along(codes, axis, i * latent));
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: Math.min(...values), max: Math.max(...values), step: "any" });
    input.dataset.axis = index;
    input.setAttribute("aria-label", axis.name);
    input.addEventListener("input", () => {
      const move = +input.value - along(state.code, axis);
      for (let k = 0; k < latent; k++) state.code[k] += move * axis.way[k];
      show();
    });
    label.append(axis.name.replace("principal ", "princ. "), input, document.createElement("output"));
    byId("sliders").append(label);
  });
}
const any = () => Math.floor(Math.random() * count);
byId("nearest").addEventListener("click", () => {
  const index = any();
  goTo(codeAt(index), model.classes ? labels[index] : undefined);
});
byId("centre").addEventListener("click", () => goTo(mean));

// ---- from one image to another
function pair() {
  [state.from, state.to] = [any(), any()];
  paint(byId("from"), imageAt(state.from));
  paint(byId("to"), imageAt(state.to));
  byId("way").value = 0;
}
function goAlong(share) {
  const [a, b] = [codeAt(state.from), codeAt(state.to)];
  goTo(a.map((value, k) => (1 - share) * value + share * b[k]), model.classes ? labels[share < 0.5 ? state.from : state.to] : undefined);
}
byId("way").addEventListener("input", (event) => goAlong(+event.target.value));
byId("pair").addEventListener("click", () => (pair(), goAlong(0)));
byId("play").addEventListener("click", () => {
  state.playing = !state.playing;
  byId("play").textContent = state.playing ? "Pause" : "Play";
  byId("play").setAttribute("aria-pressed", String(state.playing));
  let begun = null;
  const frame = (now) => {
    if (!state.playing) return;
    begun ??= now;
    const share = 0.5 - 0.5 * Math.cos(((now - begun) / 3000) * Math.PI);
    byId("way").value = share;
    goAlong(share);
    requestAnimationFrame(frame);
  };
  if (state.playing) requestAnimationFrame(frame);
});

byId("title").textContent = model.title;
byId("about").textContent = model.about;
document.title = `${model.title}, jaxae explorer`;
choose(0);
project();
drawGround();
sliders();
pair();
show();
window.addEventListener("resize", () => (drawGround(), drawMap()));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMap);
