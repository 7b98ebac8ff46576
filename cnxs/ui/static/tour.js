// Three first steps, each beside what it explains. Doing one brings the next. Dismissed or done once, they never come
// back in this browser.
(() => {
  const SEEN = "cnxs.tour";
  // The hint's name, what it points at, and where an action means that it is followed.
  const STEPS = [
    ["lines", "#source-tabs", "#source-tabs, #examples"],
    ["words", "#prompt", "#prompt, #surprise, #style"],
    ["strengths", "#compare", "#compare, #generate"],
  ];
  const GAP = 14;
  let step = -1;

  const card = () => document.getElementById("tour");
  const target = () => document.querySelector(STEPS[step]?.[1]);

  function seen() {
    try {
      return localStorage.getItem(SEEN) !== null;
    } catch {
      return true; // what cannot be dismissed for good is not shown
    }
  }

  // To the right of its target, else below, else above: never over it.
  function place() {
    if (step < 0 || !target()) return;
    const box = target().getBoundingClientRect();
    const { width, height } = card().getBoundingClientRect();
    const beside = box.right + GAP + width <= innerWidth;
    const below = box.bottom + GAP + height <= innerHeight;
    const left = beside ? box.right + GAP : Math.max(8, Math.min(box.left, innerWidth - width - 8));
    const top = beside ? box.top : below ? box.bottom + GAP : box.top - GAP - height;
    card().style.left = `${left}px`;
    card().style.top = `${beside ? Math.max(8, Math.min(top, innerHeight - height - 8)) : top}px`;
  }

  function unmark() {
    document.querySelectorAll(".tour-target").forEach((part) => part.classList.remove("tour-target"));
  }

  function show(next, { quietly = false } = {}) {
    unmark();
    step = next;
    const [name] = STEPS[step];
    card().dataset.step = name;
    card().setAttribute("role", "dialog");
    card().setAttribute("aria-labelledby", "tour-title");
    card().setAttribute("aria-describedby", `tour-${name}`);
    card().tabIndex = -1;
    target().classList.add("tour-target");
    if (!quietly) target().scrollIntoView({ block: "center" });
    place();
    if (!quietly) card().focus({ preventScroll: true });
  }

  const onward = (options) => (step < STEPS.length - 1 ? show(step + 1, options) : close());

  // Who already works is not led by the hand: neither focus nor scroll position change.
  function followed(event) {
    const reading = event.type === "click" && event.target.matches?.("textarea"); // about to type
    if (step >= 0 && !reading && event.target.closest?.(STEPS[step][2])) onward({ quietly: true });
  }

  function close() {
    if (step < 0) return;
    const held = card().contains(document.activeElement);
    const explained = target();
    unmark();
    step = -1;
    delete card().dataset.step;
    try {
      localStorage.setItem(SEEN, "seen");
    } catch {
      // Nothing remembers it, then.
    }
    // The keyboard goes on at what was explained last.
    const goes = explained?.matches("button") ? explained : explained?.querySelector("button, textarea");
    if (held) goes?.focus({ preventScroll: true });
  }

  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || step < 0 || document.querySelector("#history[data-open]")) return;
      event.stopPropagation(); // closes the hint, and cancels no job
      close();
    },
    true,
  );
  document.addEventListener("click", followed, true);
  document.addEventListener("input", followed, true);
  addEventListener("scroll", place, { passive: true, capture: true });
  addEventListener("resize", place);

  // Once the page has remembered itself; a link that brings settings is not a first look round.
  function begin() {
    const ready = card() && document.querySelector("#device .note");
    if (document.documentElement.classList.contains("arriving") || !ready) return setTimeout(begin, 150);
    if (!seen()) show(0);
  }
  const wanted = !location.hash.startsWith("#s=");
  if (wanted && !seen()) begin();

  window.cnxsTour = { next: () => onward(), close };
})();
