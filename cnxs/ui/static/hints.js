// The small pictures beside sliders: a mark at the label opens its picture on hover, on focus and at a touch.
(() => {
  let open = null; // the mark whose picture is seen

  const pictureOf = (mark) => document.getElementById(mark.getAttribute("aria-describedby"));

  function place(mark, picture) {
    const { left, top, bottom } = mark.getBoundingClientRect();
    const { width, height } = picture.getBoundingClientRect();
    const above = top - height - 8;
    picture.style.left = `${Math.max(8, Math.min(left - 12, innerWidth - width - 8))}px`;
    picture.style.top = `${above >= 8 ? above : bottom + 8}px`;
  }

  function show(mark) {
    if (open === mark) return;
    hide();
    open = mark;
    const picture = pictureOf(mark);
    picture.setAttribute("data-open", "");
    mark.setAttribute("aria-expanded", "true");
    place(mark, picture);
  }

  function hide() {
    if (!open) return;
    pictureOf(open).removeAttribute("data-open");
    open.setAttribute("aria-expanded", "false");
    open = null;
  }

  function marked(picture) {
    const title = document.querySelector(`#${picture.id.replace("hint-", "")} [data-testid="block-info"]`);
    const words = picture.querySelector("figcaption")?.textContent;
    if (!title || !words) return;
    let mark = title.querySelector(".hint-mark");
    if (!mark) {
      mark = document.createElement("button");
      mark.type = "button";
      mark.className = "hint-mark";
      mark.textContent = "?";
      mark.setAttribute("aria-expanded", "false");
      mark.setAttribute("aria-describedby", picture.id);
      mark.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(mark));
      mark.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
      mark.addEventListener("focus", () => mark.matches(":focus-visible") && show(mark));
      mark.addEventListener("blur", hide);
      mark.addEventListener("click", (event) => {
        event.preventDefault(); // the label that it stands in must not pass the press on
        event.stopPropagation();
        if (event.detail === 0 || event.pointerType === "mouse" || open !== mark) show(mark);
        else hide();
      });
      title.append(mark);
    }
    if (mark.getAttribute("aria-label") !== words) mark.setAttribute("aria-label", words);
  }

  // Components come and go as panels are unfolded: what is new gets its mark.
  let waiting = false;
  function look() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      document.querySelectorAll("#hints > .hint-picture").forEach(marked);
    });
  }

  addEventListener("scroll", hide, { passive: true, capture: true });
  document.addEventListener("pointerdown", (event) => event.target.closest?.(".hint-mark") || hide());
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || !open) return;
      event.stopPropagation(); // closes the picture, and cancels no job
      hide();
    },
    true,
  );

  function watch() {
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
    look();
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
  else watch();
})();
