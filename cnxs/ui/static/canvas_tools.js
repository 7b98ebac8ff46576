// The sketch canvas, second part: its toolbar, what the tools do, and pictures below the strokes.

const BRUSH_RANGE = [2, 160]; // diameters, in units

const ICONS = {
  brush: "M4 20l1.2-4.6L16.3 4.3a1.8 1.8 0 0 1 2.6 0l.8.8a1.8 1.8 0 0 1 0 2.6L8.6 18.8z M14 6.6l3.4 3.4",
  eraser: "M9 20h11 M4.6 14.4l9-9a1.8 1.8 0 0 1 2.6 0l3.4 3.4a1.8 1.8 0 0 1 0 2.6L11 20H8.6l-4-4a1.2 1.2 0 0 1 0-1.6z M9 10l5.8 5.8",
  undo: "M8.5 5L4.5 9l4 4 M4.5 9H14a5.5 5.5 0 0 1 0 11h-3.5",
  redo: "M15.5 5l4 4-4 4 M19.5 9H10a5.5 5.5 0 0 0 0 11h3.5",
  clear: "M4.5 7h15 M9.5 7V4.5h5V7 M6.5 7l.8 12.5h9.4L17.5 7 M10.3 11v5 M13.7 11v5",
  picture: "M4 5.5h16v13H4z M4 16l4.6-4.6 4 4 2.8-2.8L20 17 M15.6 9.2h.02",
  fit: "M4.5 9.5v-5h5 M14.5 4.5h5v5 M19.5 14.5v5h-5 M9.5 19.5h-5v-5",
  remove: "M6.5 6.5l11 11 M17.5 6.5l-11 11",
};

function icon(name) {
  const holder = node("template");
  holder.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
  return holder.content.firstChild;
}

function toSlider(width) {
  const [low, high] = BRUSH_RANGE;
  return Math.log(width / low) / Math.log(high / low);
}

function fromSlider(place) {
  const [low, high] = BRUSH_RANGE;
  return low * (high / low) ** place;
}

class Tools {
  constructor(root, sketch, words) {
    this.words = words;
    this.root = root;
    this.sketch = sketch;
    this.erasing = false;
    this.build();
    this.surface = new Surface(sketch, this.paper);
    this.surface.onpaint = () => this.showState();
    this.showTool();
  }

  // Toolbar and stage

  button(name, action) {
    const label = this.words[name];
    const made = node("button", { type: "button", title: label, "aria-label": label, "data-tool": name }, icon(name));
    made.addEventListener("click", action);
    this.tools[name] = made;
    return made;
  }

  slider(name, [min, max, step], onInput) {
    const label = this.words[name];
    const made = node("input", { type: "range", min, max, step, title: label, "aria-label": label });
    made.addEventListener("input", () => onInput(Number(made.value)));
    this.tools[name] = made;
    return node("div", { class: "cnxs-canvas-slide" }, made);
  }

  build() {
    const { words } = this;
    this.tools = {};
    const group = (name, ...children) => node("div", { class: `cnxs-canvas-${name}` }, ...children);
    this.preview = node("span", { class: "cnxs-canvas-dot", "aria-hidden": "true" });
    const picture = this.button("picture", () => this.file.click());
    const bar = group(
      "bar",
      group("pair", this.button("brush", () => this.useEraser(false)), this.button("eraser", () => this.useEraser(true))),
      group("size", this.preview, this.slider("size", [0, 1, 0.01], (value) => this.setBrush(fromSlider(value)))),
      group("group", this.button("undo", () => this.undo()), this.button("redo", () => this.redo())),
      group("group", ...(CONFIG.mask ? [] : [picture]), this.button("fit", () => this.fit())),
      group("group", this.button("clear", () => this.clear())),
    );
    bar.setAttribute("role", "toolbar");
    bar.setAttribute("aria-label", words.label);
    this.paper = node("canvas", { tabindex: 0, role: "img", "aria-label": words.label });
    this.ring = node("div", { class: "cnxs-canvas-ring" });
    this.hint = group("hint", words.hint);
    this.stage = group("stage", this.paper, this.hint, this.ring);
    this.guide = node("input", { type: "checkbox" });
    this.pictureBar = group(
      "picture",
      this.slider("opacity", [0.1, 1, 0.05], (opacity) => this.changePicture({ opacity })),
      node("label", {}, this.guide, words.guide),
      this.button("remove", () => this.setPicture(null)),
    );
    this.message = node("div", { class: "cnxs-canvas-message", role: "status" });
    this.file = node("input", { type: "file", accept: "image/*", hidden: "", tabindex: -1, "aria-label": words.picture });
    this.root.replaceChildren(bar, this.pictureBar, this.stage, this.message, this.file);
  }

  showTool() {
    const { brush, eraser, size } = this.tools;
    brush.setAttribute("aria-pressed", String(!this.erasing));
    eraser.setAttribute("aria-pressed", String(this.erasing));
    size.value = toSlider(this.sketch.brush);
    this.preview.style.setProperty("--dot", `${4 + 14 * toSlider(this.sketch.brush)}px`);
    this.root.classList.toggle("is-erasing", this.erasing);
    this.placeRing();
  }

  showState() {
    const { sketch, tools } = this;
    const { width, height } = this.surface.paper;
    const { zoom, x, y } = this.surface.view;
    const drawn = sketch.visible.length > 0;
    this.stage.style.setProperty("--aspect", width / height);
    this.hint.hidden = drawn || Boolean(sketch.picture) || Boolean(this.surface.live);
    this.pictureBar.hidden = CONFIG.mask || !sketch.picture;
    tools.undo.disabled = !sketch.actions.length;
    tools.redo.disabled = !sketch.undone.length;
    tools.clear.disabled = !drawn;
    tools.fit.disabled = zoom === 1 && x === 0 && y === 0;
    if (sketch.picture) {
      tools.opacity.value = sketch.picture.opacity;
      this.guide.checked = sketch.picture.guide;
    }
    this.placeRing();
  }

  placeRing() {
    const { pointer, surface } = this;
    this.ring.hidden = !pointer || pointer.pointerType === "touch" || this.spaceHeld || this.gesture?.kind === "pan";
    if (this.ring.hidden || !surface) return;
    const box = this.stage.getBoundingClientRect();
    const across = (this.sketch.brush * surface.scale * box.width) / this.paper.width;
    this.ring.style.width = this.ring.style.height = `${Math.max(5, across)}px`;
    this.ring.style.transform =
      `translate(${pointer.clientX - box.left}px, ${pointer.clientY - box.top}px) translate(-50%, -50%)`;
  }

  say(text) {
    this.message.textContent = text;
  }

  // What the user does

  changed() {
    this.sketch.save();
    this.surface.send();
    this.showState();
  }

  useEraser(erasing) {
    this.erasing = erasing;
    this.showTool();
  }

  setBrush(width) {
    this.sketch.brush = Math.min(BRUSH_RANGE[1], Math.max(BRUSH_RANGE[0], width));
    this.showTool();
  }

  undo() {
    this.step(this.sketch.actions, this.sketch.undone);
  }

  redo() {
    this.step(this.sketch.undone, this.sketch.actions);
  }

  step(from, to) {
    if (this.surface.live || !this.sketch.move(from, to)) return;
    this.surface.renderInk();
    this.changed();
  }

  clear() {
    if (!this.sketch.visible.length || this.surface.live) return;
    this.sketch.do({ clear: true });
    this.surface.renderInk();
    this.changed();
  }

  fit() {
    Object.assign(this.surface.view, { zoom: 1, x: 0, y: 0 });
    this.surface.repaint();
  }

  // Pictures below the strokes

  async openFile(file) {
    const address = URL.createObjectURL(file);
    try {
      const pixels = redrawn(await readImage(address), 2 * Math.max(...this.sketch.size));
      this.setPicture({ image: pixels.toDataURL("image/png"), opacity: 1, guide: false });
      this.say("");
    } catch {
      this.say(this.words.unreadable);
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  /** Return the image with the size, in units, at which it just fits on the paper. */
  async fitted(image) {
    const { width, height } = await readImage(image);
    const { w, h } = this.surface.paper;
    const scale = Math.min(w / width, h / height);
    return { image, width: width * scale, height: height * scale };
  }

  async setPicture(picture) {
    this.sketch.picture = picture && { ...picture, ...(await this.fitted(picture.image)) };
    this.pictureChanged();
  }

  /** Lay a picture below the mask; with `marks`, "" or a picture of them, the mask begins anew. */
  async setGround({ id, name, image, marks }) {
    const [picture, ink] = [await this.fitted(image), marks ? await this.fitted(marks) : null];
    if (id !== this.sketch.applied) return; // a newer one has come
    if (marks !== null) {
      this.sketch.do({ clear: true });
      if (ink) this.sketch.do(ink);
      this.sketch.forget();
    }
    this.sketch.ground = name;
    this.sketch.picture = { ...picture, opacity: 1, guide: true };
    this.surface.renderInk();
    this.pictureChanged();
  }

  changePicture(change) {
    Object.assign(this.sketch.picture, change);
    this.pictureChanged();
  }

  pictureChanged() {
    this.sketch.savePicture();
    this.surface.repaint();
    this.changed();
  }

  async trace(image) {
    const lines = await this.fitted(image);
    this.sketch.do(lines);
    this.surface.renderInk();
    this.changed();
  }
}
