// The networks: the operations that model.js lists, on one image or code at a time, channels first.
"use strict";

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const floatsOf = (text) => new Float32Array(bytesOf(text).buffer);

const ACTIVATIONS = {
  relu: (x) => (x > 0 ? x : 0),
  leaky_relu: (x) => (x > 0 ? x : Math.fround(0.01) * x),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

function linear({ shape: [outputs, inputs], weight, bias }, x) {
  const y = new Float32Array(outputs);
  for (let o = 0; o < outputs; o++) {
    let sum = bias ? bias[o] : 0;
    for (let i = 0, at = o * inputs; i < inputs; i++) sum += weight[at + i] * x.data[i];
    y[o] = sum;
  }
  return { data: y, shape: [outputs] };
}

function conv({ shape: [outputs, inputs, kh, kw], weight, bias, stride: [sh, sw], padding: [ph, pw] }, x) {
  const [, h, w] = x.shape;
  const [h2, w2] = [Math.floor((h + 2 * ph - kh) / sh) + 1, Math.floor((w + 2 * pw - kw) / sw) + 1];
  const y = new Float32Array(outputs * h2 * w2);
  for (let o = 0; o < outputs; o++)
    for (let r = 0; r < h2; r++)
      for (let c = 0; c < w2; c++) {
        let sum = bias ? bias[o] : 0;
        for (let i = 0; i < inputs; i++)
          for (let u = Math.max(0, ph - r * sh); u < kh && r * sh + u - ph < h; u++)
            for (let v = Math.max(0, pw - c * sw); v < kw && c * sw + v - pw < w; v++)
              sum += weight[((o * inputs + i) * kh + u) * kw + v] * x.data[(i * h + r * sh + u - ph) * w + c * sw + v - pw];
        y[(o * h2 + r) * w2 + c] = sum;
      }
  return { data: y, shape: [outputs, h2, w2] };
}

function deconv({ shape: [inputs, outputs, kh, kw], weight, bias, stride: [sh, sw], padding: [ph, pw], output_padding: [eh, ew] }, x) {
  const [, h, w] = x.shape;
  const [h2, w2] = [(h - 1) * sh - 2 * ph + kh + eh, (w - 1) * sw - 2 * pw + kw + ew];
  const sums = new Float64Array(outputs * h2 * w2);
  for (let i = 0; i < inputs; i++)
    for (let r = 0; r < h; r++)
      for (let c = 0; c < w; c++) {
        const value = x.data[(i * h + r) * w + c];
        for (let o = 0; o < outputs; o++)
          for (let u = Math.max(0, ph - r * sh); u < kh && r * sh + u - ph < h2; u++)
            for (let v = Math.max(0, pw - c * sw); v < kw && c * sw + v - pw < w2; v++)
              sums[(o * h2 + r * sh + u - ph) * w2 + c * sw + v - pw] += value * weight[((i * outputs + o) * kh + u) * kw + v];
      }
  const y = Float32Array.from(sums, (sum, at) => sum + (bias ? bias[Math.floor(at / (h2 * w2))] : 0));
  return { data: y, shape: [outputs, h2, w2] };
}

// [h, w, c] to [c, h, w], or back: a pixel's channels are next to each other in one, a channel's pixels in the other.
function transposed({ data, shape }, first) {
  const [rows, columns] = first ? [shape[0] * shape[1], shape[2]] : [shape[0], shape[1] * shape[2]];
  const y = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) y[c * rows + r] = data[r * columns + c];
  return { data: y, shape: first ? [shape[2], shape[0], shape[1]] : [shape[1], shape[2], shape[0]] };
}

function withClass({ data, shape }, classes, label, planes) {
  const size = planes ? shape[1] * shape[2] : 1;
  const y = new Float32Array(data.length + classes * size);
  y.set(data);
  y.fill(1, data.length + label * size, data.length + (label + 1) * size);
  return { data: y, shape: planes ? [shape[0] + classes, shape[1], shape[2]] : [y.length] };
}

function follow(operations, x, label) {
  for (const operation of operations) {
    const { kind } = operation;
    if (kind === "linear") x = linear(operation, x);
    else if (kind === "conv") x = conv(operation, x);
    else if (kind === "deconv") x = deconv(operation, x);
    else if (kind === "channels_first" || kind === "channels_last") x = transposed(x, kind === "channels_first");
    else if (kind === "flatten") x = { data: x.data, shape: [x.data.length] };
    else if (kind === "unflatten") x = { data: x.data, shape: operation.shape };
    else if (kind === "class_vector" || kind === "class_planes") x = withClass(x, operation.classes, label, kind === "class_planes");
    else x = { data: Float32Array.from(x.data, ACTIVATIONS[kind]), shape: x.shape };
  }
  return x;
}

// A network of what model.js holds: encode to a code (of a VAE the posterior's mean), decode to pixels [h, w, c].
function networkOf(model) {
  const numbers = floatsOf(model.weights);
  const part = ([start, length]) => numbers.subarray(start, start + length);
  const ready = (operations) =>
    operations.map((one) => ({ ...one, weight: one.weight && part(one.weight), bias: one.bias && part(one.bias) }));
  const [encoder, decoder] = [ready(model.encoder), ready(model.decoder)];
  const pixels = model.shape[0] * model.shape[1] * model.shape[2];
  return {
    encode: (image, label) => follow(encoder, { data: image, shape: model.shape }, label).data,
    // Planes of a reconstructed condition follow the image's own channels.
    decode: (code, label) => {
      const { data, shape } = follow(decoder, { data: code, shape: [code.length] }, label);
      if (data.length === pixels) return data;
      const y = new Float32Array(pixels), [all, own] = [shape[2], model.shape[2]];
      for (let at = 0; at < pixels; at++) y[at] = data[Math.floor(at / own) * all + (at % own)];
      return y;
    },
  };
}
