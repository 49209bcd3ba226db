// One slider, three lives. Live: each new value goes to Python, which answers with a picture
// (anywidget calls `render` at the end of this file). Without a kernel, in slides and in stored
// notebooks: the picture is cut from a sprite, a sheet of frames drawn beforehand. Where no script
// runs at all, the reader sees the PNG that the panel's HTML holds.
// `spec` comes from vae_helpers/widgets.py; `ask(values)` goes to Python, and is null without one.

const STYLE = `
.vae-panel { color: var(--jp-content-font-color1, inherit); font-size: 14px; line-height: 1.3;
  display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: flex-start; text-align: left;
  padding: 4px; }
.vae-panel canvas { max-width: 100%; background: white; }
.vae-panel canvas:focus-visible, .vae-panel input:focus-visible, .vae-panel button:focus-visible {
  outline: 3px solid #0072b2; outline-offset: 2px; }
.vae-sliders { display: grid; gap: 0 24px; }
.vae-slider { display: grid; grid-template-columns: auto 160px 4.5em; gap: 8px;
  align-items: center; justify-content: end; min-height: 24px; }
.vae-slider output { font-variant-numeric: tabular-nums; }
.vae-panel button { font: inherit; padding: 2px 12px; margin: 0 8px 4px 0; cursor: pointer; }
.vae-row { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: center; }
.vae-top { flex-basis: 100%; justify-content: inherit; }
.vae-error:empty { display: none; }
.vae-plane { display: grid; gap: 4px; justify-items: start; }
.vae-alone { grid-template-columns: auto auto; column-gap: 20px; align-items: center; }
.vae-error { flex-basis: 100%; white-space: pre-wrap; margin: 0; padding: 4px; color: #600;
  background: #fff0f0; font: 12px monospace; }
.vae-note { flex-basis: 100%; font-size: 12px; }
`;

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function button(text, onclick) {
  return make("button", { type: "button", textContent: text, onclick });
}

async function load(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

// A canvas that shows one frame of a sheet, `zoom` times as large.
function picture(width, height, zoom, alt) {
  const canvas = make("canvas", { width, height, role: "img", ariaLabel: alt });
  canvas.style.width = `${width * zoom}px`;
  if (zoom > 1) canvas.style.imageRendering = "pixelated";
  canvas.show = (sheet, column = 0, row = 0) =>
    canvas.getContext("2d").drawImage(
      sheet, column * width, row * height, width, height, 0, 0, width, height);
  return canvas;
}

// A labelled slider with `steps` places between low and high. `value` is what it stands for: a
// value set by Python may lie between two places.
function slider([label, low, high, start], steps, changed, text = (value) => value.toFixed(2)) {
  const place = (value) => Math.round(((value - low) / (high - low)) * (steps - 1));
  const input = make("input", { type: "range", min: 0, max: steps - 1, ariaLabel: label });
  const output = make("output");
  const node = make("label", { className: "vae-slider" }, make("span", { textContent: label }),
    input, output);
  node.set = (value) => {
    node.value = value;
    input.value = place(value);
    output.textContent = input.ariaValueText = text(value);
  };
  node.valueAt = (index) => low + ((high - low) * index) / (steps - 1);
  node.index = () => Number(input.value);
  node.text = () => output.textContent;
  input.oninput = () => {
    node.set(node.valueAt(node.index()));
    changed();
  };
  node.set(start);
  return node;
}

// --- sliders over one picture -------------------------------------------------------------------

function slidersPanel(root, spec, ask) {
  const canvas = picture(spec.width, spec.height, spec.zoom, spec.alt);
  const steps = spec.ranges.map(([, low, high], i) =>
    spec.whole[i] ? high - low + 1 : ask ? spec.live_steps : spec.steps);
  const many = spec.ranges.length > 2;
  let sprite = null;
  let moved = 0;

  const describe = () => {
    const names = sliders.map((node, i) => `${spec.ranges[i][0]} ${node.text()}`);
    canvas.ariaLabel = `${spec.alt}: ${names.join(", ")}`;
  };
  const changed = () => {
    describe();
    if (ask) return ask(sliders.map((node) => node.value));
    if (!sprite) return;
    const at = sliders.map((node) => node.index());
    const frame = many ? moved * Math.max(...steps) + at[moved] : (at[1] ?? 0) * steps[0] + at[0];
    const columns = sprite.naturalWidth / spec.width;
    canvas.show(sprite, frame % columns, Math.floor(frame / columns));
  };
  const reset = () => {
    sliders.forEach((node, i) => node.set(spec.ranges[i][3]));
    if (!ask) sliders.forEach((node) => node.set(node.valueAt(node.index())));
  };
  const sliders = spec.ranges.map((range, i) =>
    slider(range, steps[i], () => {
      if (many && !ask && moved !== i) {  // frames exist for one slider at a time
        const value = sliders[i].value;
        reset();
        sliders[i].set(value);
      }
      moved = i;
      changed();
    }, spec.whole[i] ? String : undefined));
  const list = make("div", { className: "vae-sliders" }, ...sliders);
  if (sliders.length > 5) list.style.gridTemplateColumns = "repeat(2, max-content)";
  const buttons = [button("Reset", () => { reset(); changed(); })];
  if (ask && spec.random) buttons.push(button("Random", () => ask("random")));
  root.append(canvas, make("div", {}, ...buttons, list));
  if (!ask && many) {
    root.append(make("div", { className: "vae-note", textContent:
      "Stored frames: one slider moves, the others stand at their start. Run the cell to move all." }));
  }
  reset();
  describe();
  if (!ask) load(spec.sprite).then((image) => { sprite = image; changed(); });
  return {
    answer: (image) => canvas.show(image),
    values: (values) => {
      sliders.forEach((node, i) => node.set(values[i]));
      describe();
    },
  };
}

// --- codes in the plane -------------------------------------------------------------------------

const SIZE = 290, EDGE = 30;  // of a plane, in CSS pixels

function plane(spec, model, moved) {
  const [[x0, x1], [y0, y1]] = [model.x, model.y];
  const span = SIZE - 2 * EDGE;
  const toX = (x) => EDGE + ((x - x0) / (x1 - x0)) * span;
  const toY = (y) => SIZE - EDGE - ((y - y0) / (y1 - y0)) * span;
  const canvas = make("canvas", { width: 2 * SIZE, height: 2 * SIZE, tabIndex: 0,
    role: "application", ariaRoleDescription: "plane" });
  canvas.style.cssText = `width: ${SIZE}px; touch-action: none; cursor: crosshair`;
  const context = canvas.getContext("2d");
  const where = make("output", { ariaLive: "polite" });
  const [large, small] = spec.planes.length === 1 ? [6, 2] : [3, 1.4];  // two stand side by side
  const decoded = picture(spec.side, spec.side, large, "");
  const draws = picture(spec.side * spec.draws, spec.side, small, "");
  const view = { point: [0, 0], posterior: null, drawn: [], decoded, draws };

  const background = make("canvas", { width: 2 * SIZE, height: 2 * SIZE });
  paintCodes(background.getContext("2d"));

  function paintCodes(ink) {
    ink.scale(2, 2);
    ink.fillStyle = "white";
    ink.fillRect(0, 0, SIZE, SIZE);
    ink.strokeRect(EDGE, EDGE, span, span);
    ink.fillStyle = "black";
    ink.font = "bold 13px sans-serif";
    ink.textAlign = "center";
    ink.fillText(model.name, SIZE / 2, EDGE - 10);
    ink.font = "11px sans-serif";
    for (const t of [0, 0.5, 1]) {
      ink.fillText((x0 + t * (x1 - x0)).toFixed(1), EDGE + t * span, SIZE - EDGE + 13);
      ink.fillText((y0 + t * (y1 - y0)).toFixed(1), EDGE / 2, SIZE - EDGE - t * span + 4);
    }
    ink.fillText("z1", SIZE / 2, SIZE - 3);
    ink.fillText("z2", EDGE / 2, SIZE / 2 - 16);
    ink.font = "bold 9px sans-serif";
    ink.globalAlpha = 0.6;
    model.codes.forEach(([x, y], i) => {
      ink.fillStyle = spec.colours[spec.labels[i]];
      ink.fillText(spec.labels[i], toX(x), toY(y) + 3);
    });
  }

  function mark(paint) {  // black on a white edge, so that it shows on any colour
    for (const [colour, width] of [["white", 5], ["black", 2]]) {
      Object.assign(context, { strokeStyle: colour, lineWidth: width });
      context.beginPath();
      paint();
      context.stroke();
    }
  }

  view.paint = () => {
    context.resetTransform();
    context.drawImage(background, 0, 0);
    context.scale(2, 2);
    if (view.posterior?.sigma) {
      const { mu, sigma } = view.posterior;
      for (const k of [1, 2]) {
        mark(() => context.ellipse(toX(mu[0]), toY(mu[1]),
          (k * sigma[0] * span) / (x1 - x0), (k * sigma[1] * span) / (y1 - y0), 0, 0, 7));
      }
    }
    for (const [x, y] of view.drawn) {
      mark(() => {
        context.moveTo(toX(x) - 4, toY(y) - 4);
        context.lineTo(toX(x) + 4, toY(y) + 4);
        context.moveTo(toX(x) + 4, toY(y) - 4);
        context.lineTo(toX(x) - 4, toY(y) + 4);
      });
    }
    mark(() => context.arc(toX(view.point[0]), toY(view.point[1]), 6, 0, 7));
    const at = `z1 = ${view.point[0].toFixed(2)}, z2 = ${view.point[1].toFixed(2)}`;
    where.textContent = at;
    canvas.ariaLabel = `${model.name}: codes in the plane, the point at ${at}. Arrow keys move it.`;
    decoded.ariaLabel = `what ${model.name} decodes at ${at}`;
    draws.style.visibility = view.drawn.length ? "visible" : "hidden";
    draws.ariaLabel = `${model.name}: ${view.drawn.length} decoded draws for the chosen image`;
  };
  view.goTo = (x, y) => {
    view.point = [Math.min(Math.max(x, x0), x1), Math.min(Math.max(y, y0), y1)];
  };
  // The nearest stored frame: column and row.
  view.frame = ([x, y]) => [[x, x0, x1], [y, y0, y1]].map(([value, low, high]) =>
    Math.min(Math.max(Math.round(((value - low) / (high - low)) * (spec.steps - 1)), 0), spec.steps - 1));

  const follow = (event) => {
    const box = canvas.getBoundingClientRect();
    const [u, v] = [event.clientX - box.left, event.clientY - box.top]
      .map((place) => ((place * SIZE) / box.width - EDGE) / span);
    view.goTo(x0 + u * (x1 - x0), y1 - v * (y1 - y0));
    moved();
  };
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); follow(event); };
  canvas.onpointermove = (event) => { if (event.buttons) follow(event); };
  canvas.onkeydown = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    view.goTo(view.point[0] + (step[0] * (x1 - x0)) / 40, view.point[1] + (step[1] * (y1 - y0)) / 40);
    moved();
  };
  view.node = make("div", { className: "vae-plane" }, canvas,
    make("div", { className: "vae-row" }, decoded, make("div", {}, where, draws)));
  draws.style.display = "block";
  return view;
}

function normal() {  // Box and Muller
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

function planePanel(root, spec, ask, draw) {
  let sheets = null;
  const changed = () => {
    planes.forEach((view) => view.paint());
    if (ask) return ask(planes.map((view) => [view.point, ...view.drawn]));
    if (sheets) planes.forEach((view, i) => {
      view.decoded.show(sheets[i], ...view.frame(view.point));
      strip(view, (k) => [sheets[i], ...view.frame(view.drawn[k])]);
    });
  };
  const strip = (view, frameOf) => {
    const ink = view.draws.getContext("2d"), side = spec.side;
    ink.clearRect(0, 0, view.draws.width, side);
    view.drawn.forEach((_, k) => {
      const [sheet, column, row] = frameOf(k);
      ink.drawImage(sheet, column * side, row * side, side, side, k * side, 0, side, side);
    });
  };
  const planes = spec.planes.map((model) => plane(spec, model, changed));
  const show = (posteriors) => {
    planes.forEach((view, i) => {
      view.posterior = posteriors[i];
      view.drawn = [];
      view.goTo(...posteriors[i].mu);
    });
    changed();
  };
  const chosen = picture(spec.side, spec.side, 3, "the chosen image");
  let images = null;
  const choose = () => {
    const k = choice.index();
    chosen.ariaLabel = `the chosen image, a ${spec.chosen[k]}`;
    if (images) chosen.show(images, k);
    show(spec.planes.map((model) => model.posteriors[k]));
  };
  const last = spec.chosen.length - 1;
  const choice = slider(["image", 0, last, 0], last + 1, choose, (k) => `a ${spec.chosen[k]}`);
  const drawFrom = button("Draw from the posterior", () => {
    planes.forEach((view) => {
      const { mu, sigma } = view.posterior;
      view.drawn = Array.from({ length: spec.draws }, () =>
        mu.map((m, i) => m + (sigma ? sigma[i] * normal() : 0)));
    });
    changed();
  });
  drawFrom.hidden = !spec.planes.some((model) => model.posteriors[0].sigma);
  const top = make("div", { className: "vae-row vae-top" }, chosen, choice, drawFrom);
  if (draw) top.append(...drawingPad(spec.side, draw));
  root.append(top, ...planes.map((view) => view.node));
  if (planes.length === 1) planes[0].node.classList.add("vae-alone");
  load(spec.images).then((image) => { images = image; chosen.show(image, choice.index()); });
  if (!ask) Promise.all(spec.planes.map((model) => load(model.sprite)))
    .then((loaded) => { sheets = loaded; changed(); });
  choose();
  return {
    answer: (sheet) => planes.forEach((view, i) => {
      view.decoded.show(sheet, 0, i);
      strip(view, (k) => [sheet, k + 1, i]);
    }),
    drawn: ({ image, posteriors }) => {
      load(image).then((loaded) => chosen.show(loaded));
      chosen.ariaLabel = "the digit drawn by hand, centred";
      show(posteriors);
    },
  };
}

// A square to draw a digit in, white on black, read out at the size of the images.
function drawingPad(side, draw) {
  const pad = make("canvas", { width: 5 * side, height: 5 * side, role: "img",
    ariaLabel: "a square to draw a digit in with the mouse" });
  pad.style.cssText = "background: black; touch-action: none; cursor: crosshair; width: 84px";
  const ink = pad.getContext("2d", { willReadFrequently: true });
  Object.assign(ink, { lineWidth: 12, lineCap: "round", lineJoin: "round", strokeStyle: "white" });
  const small = make("canvas", { width: side, height: side });
  const shrink = small.getContext("2d", { willReadFrequently: true });
  const clear = () => { ink.fillRect(0, 0, pad.width, pad.height); };
  const at = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) * pad.width) / box.width,
      ((event.clientY - box.top) * pad.height) / box.height];
  };
  pad.onpointerdown = (event) => {
    pad.setPointerCapture(event.pointerId);
    ink.beginPath();
    ink.moveTo(...at(event));
  };
  pad.onpointermove = (event) => {
    if (!event.buttons) return;
    ink.lineTo(...at(event));
    ink.stroke();
    shrink.imageSmoothingQuality = "high";
    shrink.drawImage(pad, 0, 0, side, side);
    const { data } = shrink.getImageData(0, 0, side, side);
    draw(Array.from({ length: side * side }, (_, i) => data[4 * i]));
  };
  clear();
  return [make("span", { textContent: "or draw one:" }), pad, button("Clear", clear)];
}

// --- the lives ----------------------------------------------------------------------------------

function start(root, spec, ask, draw) {
  root.replaceChildren(make("style", { textContent: STYLE }));
  root.classList.add("vae-panel");
  root.dataset.ready = "true";
  root.dataset.lmSuppressShortcuts = "true";  // or JupyterLab takes the arrow keys
  root.addEventListener("keydown", (event) => event.stopPropagation());  // or the slides move on
  return (spec.planes ? planePanel : slidersPanel)(root, spec, ask, draw);
}

function render({ model, el }) {
  const root = make("div"), error = make("pre", { className: "vae-error", role: "alert" });
  el.append(root, error);
  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  const ask = (values) => (values === "random" ? model.send(values) : set("values", values));
  const panel = start(root, model.get("spec"), ask, (pixels) => set("drawing", pixels));
  const answer = async () => {
    const png = model.get("png");
    if (png.byteLength) panel.answer(await createImageBitmap(new Blob([png], { type: "image/png" })));
  };
  const fail = () => { error.textContent = model.get("error"); };
  model.on("change:png", answer);
  model.on("change:error", fail);
  model.on("change:values", () => panel.values?.(model.get("values")));
  model.on("change:drawn", () => panel.drawn?.(model.get("drawn")));
  answer();
  fail();
}

export default { render };

for (const root of document.querySelectorAll("[data-vae-panel]:not([data-ready])")) {
  start(root, JSON.parse(root.dataset.vaePanel), null, null);
}
