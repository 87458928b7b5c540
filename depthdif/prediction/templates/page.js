"use strict";

const data = JSON.parse(document.getElementById("prediction-data").textContent);
const [HIGHEST, SEA_FLOOR] = [253, 254];
const GROUND = { 254: [219, 219, 219], 255: [184, 184, 184] };
// CSS pixels around a field, for labels.
const MARGIN = { left: 52, right: 8, top: 8, bottom: 22 };
const NEAR = 7;

const sliders = { time: document.getElementById("time"), depth: document.getElementById("depth") };
const profilesShown = document.getElementById("profiles");
const readout = document.getElementById("readout");
const sides = [...document.querySelectorAll(".side")];
let cursor = null;
let turn = 0;

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const colours = Object.fromEntries(Object.entries(data.colours).map(([name, text]) => [name, bytesOf(text)]));

// Codes of one quantity and time, unpacked when they are first shown.
const unpacked = new Map();
const unpack = async (plane, time) => {
  if (!unpacked.has(plane)) unpacked.set(plane, []);
  const blocks = unpacked.get(plane);
  if (!blocks[time]) {
    const stream = new Blob([bytesOf(plane.blocks[time])]).stream().pipeThrough(new DecompressionStream("deflate"));
    blocks[time] = new Uint8Array(await new Response(stream).arrayBuffer());
  }
  return blocks[time];
};

const chosen = (side) => data.quantities[Number(side.querySelector("select").value)];
const at = () => ({ time: Number(sliders.time.value), depth: Number(sliders.depth.value) });

// What one canvas shows: codes of rows from the top, the range of each row, and the ends of the colours.
const shownBy = async (side, kind) => {
  const { time, depth } = at();
  const plane = chosen(side)[kind];
  const axes = data[kind];
  const size = axes.rows.length * axes.columns.length;
  const block = await unpack(plane, time);
  return {
    axes,
    codes: kind === "map" ? block.subarray(depth * size, (depth + 1) * size) : block,
    rangeOf: (row) => plane.ranges[kind === "map" ? depth : row],
    limits: plane.limits[kind === "map" ? depth : 0],
  };
};

const valueOf = (code, [low, high]) => low + (code * (high - low)) / HIGHEST;
const decimalsOf = ([low, high]) => Math.min(4, Math.max(0, Math.ceil(-Math.log10((high - low) / HIGHEST || 1))));

// 256 colours of the codes of a row, as RGB.
const paletteOf = (name, range, [low, high]) => {
  const table = colours[name];
  return Array.from({ length: 256 }, (_, code) => {
    if (code in GROUND) return GROUND[code];
    const share = (valueOf(code, range) - low) / (high - low);
    const entry = 3 * Math.min(255, Math.max(0, Math.floor(share * 256)));
    return table.subarray(entry, entry + 3);
  });
};

const imageOf = (name, { axes, codes, rangeOf, limits }) => {
  const width = axes.columns.length;
  const image = new ImageData(width, axes.rows.length);
  let palette;
  let range;
  for (let row = 0; row < axes.rows.length; row += 1) {
    if (rangeOf(row) !== range) {
      range = rangeOf(row);
      palette = paletteOf(name, range, limits);
    }
    for (let column = 0; column < width; column += 1) {
      const cell = row * width + column;
      image.data.set(palette[codes[cell]], 4 * cell);
      image.data[4 * cell + 3] = 255;
    }
  }
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = axes.rows.length;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
};

// The depth of the maps in the section.
const depthLine = () => {
  const level = data.levels[at().depth];
  const down = (data.section.edges[level] + data.section.edges[level + 1]) / 2;
  return [[0, down], [1, down]];
};

const frameOf = (canvas) => {
  const width = canvas.clientWidth - MARGIN.left - MARGIN.right;
  return { left: MARGIN.left, top: MARGIN.top, width, height: width * data[canvas.dataset.kind].aspect };
};

const drawProfile = (context, x, y, withheld, faint) => {
  context.globalAlpha = faint ? 0.3 : 1;
  context.beginPath();
  if (withheld) {
    context.moveTo(x, y - 5);
    for (const [across, down] of [[5, 0], [0, 5], [-5, 0]]) context.lineTo(x + across, y + down);
    context.closePath();
  } else {
    context.arc(x, y, 3, 0, 2 * Math.PI);
  }
  context.fillStyle = withheld ? "#56b4e9" : "#000";
  context.strokeStyle = withheld ? "#000" : "#fff";
  context.lineWidth = 1;
  context.fill();
  context.stroke();
  context.globalAlpha = 1;
};

const drawField = (canvas, quantity, shown) => {
  const { kind } = canvas.dataset;
  const { axes } = shown;
  const ratio = window.devicePixelRatio || 1;
  const frame = frameOf(canvas);
  const height = frame.top + frame.height + MARGIN.bottom;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.imageSmoothingEnabled = false;
  const image = imageOf(quantity.colours, shown);
  // Rows end on whole pixels: no gap is seen between them.
  const edgeOf = (row) => Math.round((frame.top + axes.edges[row] * frame.height) * ratio) / ratio;
  for (let row = 0; row < axes.rows.length; row += 1) {
    const top = edgeOf(row);
    context.drawImage(image, 0, row, image.width, 1, frame.left, top, frame.width, edgeOf(row + 1) - top);
  }
  const x = (share) => frame.left + share * frame.width;
  const y = (share) => frame.top + share * frame.height;
  const text = getComputedStyle(canvas).color;
  context.strokeStyle = text;
  context.fillStyle = text;
  context.lineWidth = 1;
  context.strokeRect(frame.left, frame.top, frame.width, frame.height);
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const [share, label] of axes.x) context.fillText(label, x(share), y(1) + 6);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const [share, label] of axes.y) context.fillText(label, frame.left - 6, y(share));
  context.beginPath();
  for (const [across, down] of axes.line ?? depthLine()) context.lineTo(x(across), y(down));
  context.setLineDash([5, 4]);
  context.stroke();
  context.setLineDash([]);
  if (profilesShown.checked) {
    const { time, depth } = at();
    const profiles = data.profiles[time];
    if (kind === "map") {
      for (const [across, down, withheld, counts] of profiles.map) drawProfile(context, x(across), y(down), withheld, counts[depth] === "0");
    } else {
      for (const [across, withheld] of profiles.section) drawProfile(context, x(across), y(0), withheld, false);
    }
  }
  if (cursor && cursor.kind === kind) {
    const [left, right] = [cursor.column, cursor.column + 1].map((column) => x(column / axes.columns.length));
    const [top, bottom] = [y(axes.edges[cursor.row]), y(axes.edges[cursor.row + 1])];
    for (const [colour, width] of [["#fff", 4], ["#000", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(left, top, right - left, bottom - top);
    }
  }
};

const drawBar = (bar, quantity, limits) => {
  const decimals = decimalsOf(limits);
  bar.querySelector(".low").textContent = limits[0].toFixed(decimals);
  bar.querySelector(".high").textContent = `${limits[1].toFixed(decimals)} ${quantity.units}`;
  const context = bar.querySelector("canvas").getContext("2d");
  const table = colours[quantity.colours];
  const image = new ImageData(256, 1);
  for (let entry = 0; entry < 256; entry += 1) image.data.set([...table.subarray(3 * entry, 3 * entry + 3), 255], 4 * entry);
  context.putImageData(image, 0, 0);
};

const read = (quantity, { axes, codes, rangeOf }) => {
  const code = codes[cursor.row * axes.columns.length + cursor.column];
  if (code >= SEA_FLOOR) return `${quantity.label} ${code === SEA_FLOOR ? "below the sea floor" : "on land"}`;
  const range = rangeOf(cursor.row);
  return `${quantity.label} ${valueOf(code, range).toFixed(decimalsOf(range))} ${quantity.units}`;
};

const draw = async () => {
  turn += 1;
  const mine = turn;
  const { time, depth } = at();
  const shown = await Promise.all(sides.map((side) => Promise.all(["map", "section"].map((kind) => shownBy(side, kind)))));
  // A later move of a slider may have been quicker.
  if (mine !== turn) return;
  for (const [name, words] of [["time", data.times[time]], ["depth", data.depths[depth]]]) {
    document.getElementById(`${name}-shown`).textContent = words;
    sliders[name].setAttribute("aria-valuetext", words);
  }
  const values = [];
  sides.forEach((side, number) => {
    const quantity = chosen(side);
    ["map", "section"].forEach((kind, which) => {
      const held = shown[number][which];
      const where = kind === "map" ? `at ${data.depths[depth]}` : data.section.title;
      const words = `${quantity.label} ${where}, ${data.times[time]}`;
      side.querySelector(`.heading[data-kind=${kind}]`).textContent = words;
      const canvas = side.querySelector(`.field[data-kind=${kind}]`);
      canvas.setAttribute("aria-label", words);
      drawField(canvas, quantity, held);
      drawBar(side.querySelector(`.bar[data-kind=${kind}]`), quantity, held.limits);
      if (cursor && cursor.kind === kind) values.push(read(quantity, held));
    });
  });
  if (cursor) {
    const axes = data[cursor.kind];
    const place = cursor.kind === "map" ? [axes.rows[cursor.row], axes.columns[cursor.column], data.depths[depth]] : [axes.columns[cursor.column], axes.rows[cursor.row]];
    const profile = cursor.profile ? `; ${cursor.profile[2] ? "withheld profile" : "profile"} of ${cursor.profile[4]}` : "";
    readout.textContent = `${[...new Set(values)].join("; ")}, at ${place.join(" ")}${profile}`;
  }
  document.body.dataset.drawn = String(mine);
};

// The profile of the map nearest to a place in CSS pixels, if one is near.
const profileAt = (frame, left, top) => {
  if (!profilesShown.checked) return undefined;
  const distances = data.profiles[at().time].map.map((one) => [
    Math.hypot(frame.left + one[0] * frame.width - left, frame.top + one[1] * frame.height - top), one]);
  const nearest = distances.reduce((best, one) => (one[0] < best[0] ? one : best), [NEAR, undefined]);
  return nearest[1];
};

for (const canvas of document.querySelectorAll(".field")) {
  const { kind } = canvas.dataset;
  const axes = data[kind];
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const frame = frameOf(canvas);
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    const [across, down] = [(left - frame.left) / frame.width, (top - frame.top) / frame.height];
    if (!(across >= 0 && across < 1 && down >= 0 && down < 1)) return;
    cursor = {
      kind,
      row: axes.edges.findIndex((edge) => edge > down) - 1,
      column: Math.floor(across * axes.columns.length),
      profile: kind === "map" ? profileAt(frame, left, top) : undefined,
    };
    draw();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const from = cursor && cursor.kind === kind ? cursor : { row: Math.floor(axes.rows.length / 2), column: Math.floor(axes.columns.length / 2) };
    const within = (index, count) => Math.min(count - 1, Math.max(0, index));
    cursor = { kind, row: within(from.row + step[0], axes.rows.length), column: within(from.column + step[1], axes.columns.length) };
    draw();
  });
}

if ("DecompressionStream" in window) {
  for (const control of [sliders.time, sliders.depth, profilesShown, ...sides.map((side) => side.querySelector("select"))]) control.addEventListener("input", draw);
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
} else {
  document.getElementById("too-old").hidden = false;
}
