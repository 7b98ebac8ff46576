// The sketch canvas, last part: pointers, keyboard, and what the program sets. canvas.py joins the parts into the body
// of Gradio's `js_on_load(element, trigger, props, server, upload, watch)` and puts one line before them:
// `const CONFIG = {css, words, language, storageKey, size, mask};`

const PEN_QUIET_MS = 5000; // fingers do not draw while a pen was near this recently
const CHANCE_TOUCH_MS = 250; // a second finger this soon after the first means pinch, not a resting palm

function isTyping(target) {
  return Boolean(target.closest?.("textarea, select, [contenteditable=true], input:not([type=range], [type=checkbox])"));
}

class Canvas extends Tools {
  constructor(root, sketch, words) {
    super(root, sketch, words);
    this.gesture = null; // {kind: "stroke" | "pan" | "pinch", ...}
    this.fingers = new Map();
    this.penSeen = -Infinity;
    this.stop = new AbortController();
    this.listen();
    this.observer = new ResizeObserver(() => this.surface.resize());
    this.observer.observe(this.paper);
    this.surface.resize();
  }

  /** Leave the drawing to the next view of it. */
  close() {
    this.endStroke();
    this.stop.abort();
    this.observer.disconnect();
    this.surface.turn = Infinity;
  }

  // What the program sets; never in the middle of a stroke

  follow(size, background) {
    if (this.surface.live) {
      this.postponed = () => this.follow(size, background);
      return;
    }
    if (size && String(size) !== String(this.sketch.size)) {
      this.sketch.size = [...size];
      this.surface.reshape();
      this.showState();
      this.surface.resize();
      this.surface.send();
    }
    if (background && background.id !== this.sketch.applied) {
      this.sketch.applied = background.id;
      const { image, kind, opacity } = background;
      if (kind === "trace") this.trace(image);
      else if (kind === "ground") this.setGround(background);
      else this.setPicture(image && { image, opacity, guide: kind === "guide" });
    }
  }

  // Pointers

  listen() {
    const { signal } = this.stop;
    const on = (target, types, handler, options = {}) => {
      for (const type of types.split(" ")) target.addEventListener(type, handler.bind(this), { signal, ...options });
    };
    on(this.paper, "pointerdown", this.onDown);
    on(this.paper, "pointermove", this.onMove);
    on(this.paper, "pointerup pointercancel", this.onUp);
    on(this.paper, "pointerleave", () => this.track(null));
    on(this.paper, "wheel", this.onWheel, { passive: false });
    on(this.paper, "contextmenu dragstart", (event) => event.preventDefault());
    on(document, "keydown", this.onKey);
    on(document, "keyup", (event) => event.code === "Space" && this.holdSpace(false));
    on(window, "blur", () => this.holdSpace(false));
    on(this.guide, "change", () => this.changePicture({ guide: this.guide.checked }));
    on(this.file, "change", () => {
      if (this.file.files.length) this.openFile(this.file.files[0]);
      this.file.value = "";
    });
    on(this.stage, "dragover", (event) => event.preventDefault());
    on(this.stage, "drop", (event) => {
      event.preventDefault();
      if (CONFIG.mask) return;
      const dropped = [...event.dataTransfer.files].find((file) => file.type.startsWith("image/"));
      if (dropped) this.openFile(dropped);
    });
  }

  track(event) {
    this.pointer = event;
    this.placeRing();
  }

  onDown(event) {
    this.used = event.timeStamp;
    this.track(event);
    const finger = event.pointerType === "touch";
    if (finger) this.fingers.set(event.pointerId, event);
    else if (event.pointerType === "pen") this.penSeen = event.timeStamp;
    if (finger && this.fingers.size === 2 && this.startPinch(event)) return;
    if (this.gesture && event.pointerType === "pen" && this.gesture.finger) this.dropStroke();
    if (this.gesture) return;
    this.paper.setPointerCapture?.(event.pointerId);
    const palm = finger && event.timeStamp - this.penSeen < PEN_QUIET_MS;
    if (event.button === 1 || this.spaceHeld || palm) {
      this.gesture = { kind: "pan", id: event.pointerId, last: event };
      event.preventDefault();
    } else if (event.button === 0 || event.button === 5) {
      this.startStroke(event, this.erasing || event.button === 5);
    }
  }

  onMove(event) {
    this.track(event);
    if (event.pointerType === "pen") this.penSeen = event.timeStamp;
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, event);
    const { gesture } = this;
    if (gesture?.kind === "pinch") this.pinch();
    if (gesture?.id !== event.pointerId) return;
    if (gesture.kind === "pan") {
      const density = this.paper.width / this.paper.getBoundingClientRect().width;
      const { clientX, clientY } = gesture.last;
      this.surface.pan((event.clientX - clientX) * density, (event.clientY - clientY) * density);
      gesture.last = event;
    } else if (gesture.kind === "stroke") {
      const events = event.getCoalescedEvents?.() ?? [];
      const added = (events.length ? events : [event]).filter((piece) => this.addPoint(piece)).length;
      if (added) this.surface.extend(added);
    }
  }

  onUp(event) {
    this.fingers.delete(event.pointerId);
    const { gesture } = this;
    if (!gesture || (gesture.kind !== "pinch" && gesture.id !== event.pointerId)) return;
    if (gesture.kind === "stroke") {
      this.endStroke();
    } else {
      this.gesture = null;
      this.placeRing();
    }
  }

  startStroke(event, erase) {
    const finger = event.pointerType === "touch";
    this.gesture = { kind: "stroke", id: event.pointerId, finger, since: event.timeStamp };
    this.surface.live = { erase, width: Math.round(this.sketch.brush * 10) / 10, points: [] };
    this.pressure = null;
    this.addPoint(event);
    this.surface.renderAction(this.surface.live);
    this.surface.repaint();
  }

  /** Add the pointer's place and pressure to the stroke; false where it has hardly moved. */
  addPoint(event) {
    const { points } = this.surface.live;
    const [x, y] = this.surface.toPaper(event).map((value) => Math.round(value * 10) / 10);
    if (points.length && Math.hypot(x - points.at(-3), y - points.at(-2)) < 0.8) return false;
    const pressed = event.pointerType === "pen" ? event.pressure : 0.5;
    this.pressure = this.pressure === null ? pressed : 0.4 * this.pressure + 0.6 * pressed;
    points.push(x, y, Math.round((0.25 + 1.5 * this.pressure) * 100) / 100);
    return true;
  }

  endStroke() {
    const { live } = this.surface;
    if (!live) return;
    this.surface.finish();
    this.gesture = null;
    this.sketch.do(live);
    this.changed();
    this.catchUp();
  }

  dropStroke() {
    this.surface.live = null;
    this.gesture = null;
    this.surface.renderInk();
    this.catchUp();
  }

  catchUp() {
    const { postponed } = this;
    this.postponed = null;
    postponed?.();
  }

  startPinch(event) {
    const { gesture } = this;
    if (gesture && !gesture.finger && gesture.kind === "stroke") return false;
    if (gesture?.kind === "stroke" && event.timeStamp - gesture.since > CHANCE_TOUCH_MS) return false;
    if (gesture?.kind === "stroke") this.dropStroke();
    this.gesture = { kind: "pinch", ...this.pair() };
    return true;
  }

  pair() {
    const [a, b] = [...this.fingers.values()];
    const middle = { clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 };
    return { middle, apart: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) };
  }

  pinch() {
    if (this.fingers.size < 2) return;
    const { middle, apart } = this.gesture;
    const now = this.pair();
    const density = this.paper.width / this.paper.getBoundingClientRect().width;
    this.surface.pan((now.middle.clientX - middle.clientX) * density, (now.middle.clientY - middle.clientY) * density);
    this.surface.zoomAt(now.middle, (this.surface.view.zoom * now.apart) / Math.max(1, apart));
    Object.assign(this.gesture, now);
  }

  /** Ctrl and wheel (a touchpad's pinch) zooms; the plain wheel moves a zoomed paper, else the page scrolls. */
  onWheel(event) {
    const { surface } = this;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      surface.zoomAt(event, surface.view.zoom * Math.exp(-event.deltaY / 400));
    } else if (surface.view.zoom > 1) {
      event.preventDefault();
      surface.pan(-event.deltaX, -event.deltaY);
    }
  }

  // Keyboard

  holdSpace(held) {
    this.spaceHeld = held;
    this.root.classList.toggle("is-panning", held);
    this.placeRing();
  }

  /** Say whether the keys are this paper's: of several that are seen, they belong to the one drawn on last. */
  isInUse() {
    const seen = [...window.cnxsSketches.values()].filter((canvas) => canvas.paper.offsetParent);
    return !seen.some((canvas) => (canvas.used ?? 0) > (this.used ?? 0));
  }

  onKey(event) {
    if (!this.paper.offsetParent || isTyping(event.target) || !this.isInUse()) return;
    const key = event.key.toLowerCase();
    const command = (event.ctrlKey || event.metaKey) && !event.altKey;
    let act;
    if (command && key === "z") act = () => (event.shiftKey ? this.redo() : this.undo());
    else if (command && key === "y") act = () => this.redo();
    else if (key === "[") act = () => this.setBrush(this.sketch.brush / 1.2);
    else if (key === "]") act = () => this.setBrush(this.sketch.brush * 1.2);
    else if (command || event.altKey) return;
    else if (key === "b") act = () => this.useEraser(false);
    else if (key === "e") act = () => this.useEraser(true);
    else if (key === " " && this.pointer && !event.target.closest?.("button")) act = () => this.holdSpace(true);
    if (!act) return;
    event.preventDefault();
    act();
  }
}

function addStyle(css) {
  const known = document.getElementById("cnxs-canvas-style");
  const style = known ?? document.head.appendChild(node("style", { id: "cnxs-canvas-style" }));
  style.textContent = css;
}

/** Show the sketch in `element`, and take it over from an earlier view of it when Gradio makes the component anew. */
function mount() {
  addStyle(CONFIG.css);
  const language = CONFIG.language ?? navigator.languages.map((code) => code.slice(0, 2)).find((code) => CONFIG.words[code]);
  const open = (window.cnxsSketches ??= new Map());
  const before = open.get(CONFIG.storageKey);
  before?.close();
  const sketch = before?.sketch ?? new Sketch(CONFIG.storageKey);
  if (!before) sketch.load();
  // Gradio forgets the props of a component that it removed and shows again.
  sketch.size = [...(props.document_size ?? sketch.size ?? CONFIG.size)];
  const canvas = new Canvas(element.querySelector(".cnxs-canvas"), sketch, CONFIG.words[language ?? "en"]);
  open.set(CONFIG.storageKey, canvas);
  canvas.surface.onsend = (value) => {
    props.value = value;
    trigger("input");
    canvas.root.dataset.strokes = value.strokes; // what Python knows of by now
  };
  const follow = () => canvas.follow(props.document_size, props.background);
  watch("document_size background".split(" "), follow);
  follow();
  if (!props.value && (sketch.actions.length || sketch.picture)) canvas.surface.send();
}

mount();
