// The sketch canvas, first part: the drawing, its storage in the browser, and what is on screen.
//
// Strokes are vectors. Their unit is a thousandth of the paper's short side, counted from the paper's centre, so that
// a change of the paper's size or shape never alters them: what leaves the paper comes back with the old shape.

const UNIT = 1000;
const SAVED_CHARACTERS = 2_000_000; // browsers keep about 5 million per site
const SEND_DELAY_MS = 40;

function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function readImage(source) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("unreadable image"));
    image.src = source;
  });
}

function redrawn(image, longSide) {
  const shrink = Math.min(1, longSide / Math.max(image.width, image.height));
  const copy = node("canvas", { width: Math.round(image.width * shrink), height: Math.round(image.height * shrink) });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, copy.width, copy.height);
  return copy;
}

/** Turn dark lines on light ground into black ink that is as opaque as the lines were dark. */
function inked(image, longSide) {
  const copy = redrawn(image, longSide);
  const context = copy.getContext("2d");
  const pixels = context.getImageData(0, 0, copy.width, copy.height);
  const data = pixels.data;
  for (let i = 0; i < data.length; i += 4) {
    const grey = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
    data[i + 3] = Math.round(((255 - grey) * data[i + 3]) / 255);
    data[i] = data[i + 1] = data[i + 2] = 0;
  }
  context.putImageData(pixels, 0, 0);
  return copy;
}

/**
 * Draw the piece of a stroke that its point `i` completes: from the middle before point i-1 to the middle after it.
 * A stroke is {erase, width, points: [x, y, factor, ...]}; the factor scales its width, by pressure.
 */
function drawPiece(context, { width, points }, i) {
  const at = (n) => points.slice(3 * n, 3 * n + 3);
  const middle = (a, b) => a.map((value, n) => (value + b[n]) / 2);
  const bend = at(i - 1);
  const from = i === 1 ? bend : middle(at(i - 2), bend);
  const to = i * 3 < points.length ? middle(bend, at(i)) : bend;
  const pixelsPerUnit = context.getTransform().a;
  const steps = Math.min(16, Math.max(1, Math.ceil(Math.abs(to[2] - from[2]) * width * pixelsPerUnit)));
  if (steps === 1) {
    context.lineWidth = (width * (from[2] + to[2])) / 2;
    context.beginPath();
    context.moveTo(from[0], from[1]);
    context.quadraticCurveTo(bend[0], bend[1], to[0], to[1]);
    context.stroke();
    return;
  }
  const along = (t, n) => (1 - t) ** 2 * from[n] + 2 * t * (1 - t) * bend[n] + t ** 2 * to[n];
  for (let step = 0; step < steps; step++) {
    const [start, end] = [step / steps, (step + 1) / steps];
    context.lineWidth = width * (from[2] + ((to[2] - from[2]) * (start + end)) / 2);
    context.beginPath();
    context.moveTo(along(start, 0), along(start, 1));
    context.lineTo(along(end, 0), along(end, 1));
    context.stroke();
  }
}

function drawDot(context, { width, points }) {
  context.beginPath();
  context.arc(points[0], points[1], (width * points[2]) / 2, 0, 2 * Math.PI);
  context.fill();
}

/** The drawing itself: what was done, what was undone, the picture below, the paper's size. Outlives its view. */
class Sketch {
  constructor(key) {
    this.key = key;
    this.actions = []; // strokes, {image, width, height} of traced lines, or {clear: true}
    this.undone = [];
    this.picture = null; // {image, width, height, opacity, guide}
    this.size = null; // set by the program
    this.brush = CONFIG.mask ? 90 : 11;
    this.applied = null; // id of the program's last background, so that a new view does not apply it again
    this.ground = ""; // the program's name for the picture below a mask
    this.bitmaps = new Map();
  }

  load() {
    if (CONFIG.mask) return; // belongs to a picture that the page does not keep either
    try {
      const saved = JSON.parse(localStorage.getItem(this.key) ?? "null");
      const isAction = ({ points, image, clear }) => Array.isArray(points) || image || clear;
      if (saved?.actions?.every(isAction) && saved.undone.every(isAction)) Object.assign(this, saved);
      this.picture = JSON.parse(localStorage.getItem(`${this.key}.picture`) ?? "null");
    } catch (error) {
      console.warn("The saved sketch could not be read.", error);
    }
  }

  save() {
    const { actions, undone, brush, applied } = this;
    let text = JSON.stringify({ actions, undone, brush, applied });
    if (text.length > SAVED_CHARACTERS) text = JSON.stringify({ actions: this.visible, undone: [], brush, applied });
    this.store(this.key, text);
  }

  savePicture() {
    this.store(`${this.key}.picture`, JSON.stringify(this.picture));
  }

  store(key, text) {
    if (CONFIG.mask) return;
    try {
      localStorage.setItem(key, text);
    } catch (error) {
      console.warn("The browser has no room to keep the sketch over a reload.", error);
    }
  }

  get visible() {
    return this.actions.slice(this.actions.findLastIndex((action) => action.clear) + 1);
  }

  do(action) {
    this.actions.push(action);
    this.undone = [];
  }

  /** Leave nothing to be undone. */
  forget() {
    this.actions = this.visible;
    this.undone = [];
  }

  move(from, to) {
    if (!from.length) return false;
    to.push(from.pop());
    return true;
  }

  /** Return the decoded bitmap of a data URL; null while it is decoded, with a call of `whenReady` at the end. */
  bitmap(source, prepare, whenReady) {
    const key = `${prepare.name} ${source}`; // one picture may serve as ink and as ground
    if (!this.bitmaps.has(key)) {
      this.bitmaps.set(key, null);
      const fail = (error) => {
        console.warn("A picture of the sketch could not be read.", error);
        return false;
      };
      readImage(source)
        .then((image) => prepare(image, 2048))
        .catch(fail)
        .then((pixels) => this.bitmaps.set(key, pixels))
        .then(whenReady);
    }
    return this.bitmaps.get(key);
  }

  get decoding() {
    return [...this.bitmaps.values()].includes(null);
  }
}

/** Paper, layers and the way to Python; what is on screen, without any input handling. */
class Surface {
  constructor(sketch, canvas) {
    this.sketch = sketch;
    this.canvas = canvas;
    this.screen = canvas.getContext("2d");
    this.ink = node("canvas");
    this.view = { zoom: 1, x: 0, y: 0 }; // x, y: shift of the paper's centre in canvas pixels
    this.live = null; // the stroke being drawn
    this.turn = 0;
    this.reshape();
  }

  get paper() {
    const [width, height] = this.sketch.size;
    const short = Math.min(width, height);
    return { width, height, short, w: (width / short) * UNIT, h: (height / short) * UNIT };
  }

  reshape() {
    const { width, height } = this.paper;
    const oversampling = CONFIG.mask ? 1 : Math.min(2, 4096 / Math.max(width, height));
    this.ink.width = width * oversampling;
    this.ink.height = height * oversampling;
    this.renderInk();
  }

  layer(context, erase) {
    const { width, height } = context.canvas;
    const scale = Math.min(width, height) / UNIT;
    context.setTransform(scale, 0, 0, scale, width / 2, height / 2);
    context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    context.lineCap = context.lineJoin = "round";
    context.fillStyle = context.strokeStyle = "#000";
    return context;
  }

  renderInk() {
    const context = this.ink.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.ink.width, this.ink.height);
    for (const action of this.sketch.visible) this.renderAction(action);
    if (this.live) this.renderAction(this.live);
    this.repaint();
  }

  renderAction(action) {
    const context = this.layer(this.ink.getContext("2d"), action.erase);
    if (action.image) {
      const lines = this.sketch.bitmap(action.image, inked, () => this.arrived());
      const { width, height } = action;
      if (lines) context.drawImage(lines, -width / 2, -height / 2, width, height);
      return;
    }
    drawDot(context, action);
    for (let i = 1; i <= action.points.length / 3; i++) drawPiece(context, action, i);
  }

  arrived() {
    this.renderInk();
    this.send();
  }

  extend(count) {
    const context = this.layer(this.ink.getContext("2d"), this.live.erase);
    const total = this.live.points.length / 3;
    for (let i = Math.max(1, total - count); i < total; i++) drawPiece(context, this.live, i);
    this.repaint();
  }

  finish() {
    const context = this.layer(this.ink.getContext("2d"), this.live.erase);
    drawPiece(context, this.live, this.live.points.length / 3);
    this.live = null;
    this.repaint();
  }

  /** Size the canvas to its box; a hidden canvas has none and keeps everything as it is. */
  resize() {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width) return;
    const density = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(box.width * density), Math.round(box.height * density)];
    if (width === this.canvas.width && height === this.canvas.height) return;
    this.view.x *= width / this.canvas.width;
    this.view.y *= height / this.canvas.height;
    Object.assign(this.canvas, { width, height });
    this.paint();
  }

  get scale() {
    const { w, h } = this.paper;
    return Math.min(this.canvas.width / w, this.canvas.height / h) * this.view.zoom;
  }

  toPaper(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) * this.canvas.width) / box.width - this.canvas.width / 2 - this.view.x;
    const y = ((event.clientY - box.top) * this.canvas.height) / box.height - this.canvas.height / 2 - this.view.y;
    return [x / this.scale, y / this.scale];
  }

  /** Zoom so that the paper's point under `event` stays there. */
  zoomAt(event, zoom) {
    const [x, y] = this.toPaper(event);
    const before = this.scale;
    this.view.zoom = Math.min(8, Math.max(0.5, zoom));
    this.pan(x * (before - this.scale), y * (before - this.scale));
  }

  pan(dx, dy) {
    const { w, h } = this.paper;
    const held = (value, limit) => Math.min(limit, Math.max(-limit, value));
    this.view.x = held(this.view.x + dx, (w * this.scale) / 2);
    this.view.y = held(this.view.y + dy, (h * this.scale) / 2);
    this.repaint();
  }

  repaint() {
    this.frame ??= requestAnimationFrame(() => this.paint());
  }

  paint() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    const context = this.screen;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const { x, y } = this.view;
    context.setTransform(this.scale, 0, 0, this.scale, this.canvas.width / 2 + x, this.canvas.height / 2 + y);
    this.compose(context, { withGuide: true });
    if (this.live && !this.live.erase && !CONFIG.mask) {
      context.lineCap = "round";
      drawPiece(context, this.live, this.live.points.length / 3);
    }
    this.onpaint?.();
  }

  compose(context, { withGuide }) {
    const { w, h } = this.paper;
    const { picture } = this.sketch;
    context.save();
    context.beginPath();
    context.rect(-w / 2, -h / 2, w, h);
    context.clip();
    context.fillStyle = "#fff";
    context.fillRect(-w / 2, -h / 2, w, h);
    context.imageSmoothingQuality = "high";
    if (picture && (withGuide || !picture.guide)) {
      const pixels = this.sketch.bitmap(picture.image, redrawn, () => this.arrived());
      context.globalAlpha = picture.opacity;
      if (pixels) context.drawImage(pixels, -picture.width / 2, -picture.height / 2, picture.width, picture.height);
      context.globalAlpha = 1;
    }
    context.drawImage(CONFIG.mask && withGuide ? this.veil() : this.ink, -w / 2, -h / 2, w, h);
    context.restore();
  }

  /** Return a mask's ink as it is shown: a veil of colour, through which the picture is seen. */
  veil() {
    this.veiled ??= node("canvas");
    Object.assign(this.veiled, { width: this.ink.width, height: this.ink.height });
    const context = this.veiled.getContext("2d");
    context.drawImage(this.ink, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "rgb(196 40 150 / 55%)";
    context.fillRect(0, 0, this.veiled.width, this.veiled.height);
    return this.veiled;
  }

  send() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.sendNow(), SEND_DELAY_MS);
  }

  async sendNow() {
    if (this.live) return; // pen-up sends
    const turn = ++this.turn;
    const { width, height } = this.paper;
    const page = node("canvas", { width, height });
    const context = this.layer(page.getContext("2d", { willReadFrequently: true }), false);
    this.compose(context, { withGuide: false });
    if (this.sketch.decoding) return; // its arrival sends
    const empty = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer).every((p) => p === 0xffffffff);
    const blob = await new Promise((resolve) => page.toBlob(resolve, "image/png"));
    const png = await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.readAsDataURL(blob);
    });
    if (turn !== this.turn) return; // a newer drawing is on its way
    const { ground } = this.sketch;
    this.onsend?.({ png, width, height, empty, ground, strokes: this.sketch.visible.filter((action) => action.points).length });
  }
}
