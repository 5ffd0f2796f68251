// What is drawn by hand: its code, its reconstruction, the nearest test images, and how unusual it is.
"use strict";

const drawn = new Float32Array(width * height * channels);
const hint = channels === 1 ? "Draw with the mouse or a finger: its code moves the ring." : "Take a test image: its code moves the ring.";
function costOf(again) {
  let cost = 0;
  for (let at = 0; at < drawn.length; at++) {
    const p = within(again[at], 1e-7, 1 - 1e-7);
    cost -= drawn[at] * Math.log(p) + (1 - drawn[at]) * Math.log(1 - p);
  }
  return cost;
}
function readAs(label) {
  const code = network.encode(drawn, label);
  const again = network.decode(code, label);
  return { label, code, again, cost: costOf(again) };
}
// Of what a class is not known, the class as which it costs least: as another it would look like an anomaly.
function classify() {
  if (model.classes && drawn.some((value) => value)) {
    const readings = Array.from({ length: model.classes }, (_, label) => readAs(label));
    choose(readings.reduce((best, one) => (one.cost < best.cost ? one : best)).label);
  }
  read();
}
function read() {
  const { code, again, cost } = readAs(state.label);
  paint(byId("drawn"), drawn, 255);
  paint(byId("again"), again, 255);
  const distances = Array.from({ length: count }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < latent; k++) sum += (codes[i * latent + k] - code[k]) ** 2;
    return [sum, i];
  }).sort((a, b) => a[0] - b[0]);
  byId("neighbours").replaceChildren(
    ...distances.slice(0, 5).map(([, index]) => {
      const canvas = document.createElement("canvas");
      paint(canvas, imageAt(index));
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `test image of class ${nameOf(labels[index])}`);
      return canvas;
    }),
  );
  const below = costs.filter((one) => one < cost).length / costs.length;
  byId("score").textContent =
    `Reconstruction cost ${cost.toFixed(0)} nats: above that of ${(100 * below).toFixed(0)} % of the test images. ` +
    (below > 0.99 ? "An anomaly to this model." : "Nothing unusual to this model.") +
    (model.classes ? ` Read as class ${nameOf(state.label)}.` : "");
  goTo(code);
}
let last = null; // where the brush was: what lies between is drawn too
function brush(event) {
  const canvas = byId("drawn");
  const box = canvas.getBoundingClientRect();
  const [x, y] = [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  const [fromX, fromY] = last ?? [x, y];
  last = [x, y];
  const [dx, dy] = [x - fromX, y - fromY];
  const length = dx * dx + dy * dy || 1;
  const reach = Math.max(1, width / 18);
  for (let r = 0; r < height; r++)
    for (let c = 0; c < width; c++) {
      const share = within(((c + 0.5 - fromX) * dx + (r + 0.5 - fromY) * dy) / length, 0, 1);
      const away = Math.hypot(c + 0.5 - fromX - share * dx, r + 0.5 - fromY - share * dy);
      const ink = within(1.4 - away / reach, 0, 1);
      const at = r * width + c;
      drawn[at] = Math.max(drawn[at], ink);
    }
  read();
}
if (channels === 1) {
  let down = false;
  byId("drawn").addEventListener("pointerdown", (event) => {
    [down, last] = [true, null];
    byId("drawn").setPointerCapture(event.pointerId);
    brush(event);
  });
  byId("drawn").addEventListener("pointermove", (event) => down && brush(event));
  for (const name of ["pointerup", "pointercancel"])
    byId("drawn").addEventListener(name, () => {
      if (down) classify();
      down = false;
    });
} else {
  byId("draw-title").textContent = "Read one";
  byId("drawn").setAttribute("aria-label", "Image that is read");
  document.querySelector("#drawn + figcaption").textContent = "read";
}
byId("clear").addEventListener("click", () => {
  drawn.fill(0);
  paint(byId("drawn"), drawn);
  paint(byId("again"), drawn);
  byId("neighbours").replaceChildren();
  byId("score").textContent = hint;
});
byId("sample").addEventListener("click", () => {
  const index = any();
  drawn.set(Float32Array.from(imageAt(index), (value) => value / 255));
  if (model.classes) choose(labels[index]);
  read();
});
byId("clear").click();
