// The drawer of the history: opening, closing, keys, and asking for what is new while it is open.
(() => {
  const ASK_MS = 2000;
  let asking = null;
  let opener = null;

  const find = (selector) => document.querySelector(selector);
  const isOpen = () => find("#history")?.hasAttribute("data-open");
  const isLarge = () => Boolean(find("#history-large")?.getClientRects().length);

  function rest(on) {
    // What lies below the drawer cannot be reached by keyboard or screen reader.
    for (const part of document.querySelectorAll("#masthead, #studio, #keys")) part.inert = on;
  }

  function press(selector) {
    const button = find(selector);
    if (button && !button.disabled) button.click();
  }

  function open() {
    if (isOpen()) return;
    opener = document.activeElement;
    const drawer = find("#history");
    drawer.setAttribute("data-open", "");
    drawer.setAttribute("role", "dialog");
    drawer.setAttribute("aria-modal", "true");
    drawer.setAttribute("aria-label", drawer.querySelector("h2")?.textContent ?? "");
    rest(true);
    find("#history-close")?.focus();
  }

  // Called once the server has shown the first page.
  function watch() {
    clearInterval(asking);
    if (isOpen()) asking = setInterval(() => document.hidden || press("#history-refresh"), ASK_MS);
  }

  function close() {
    if (!isOpen()) return;
    clearInterval(asking);
    if (isLarge()) press("#history-back");
    find("#history").removeAttribute("data-open");
    rest(false);
    opener?.focus?.();
  }

  const isTyping = (target) => Boolean(target.closest?.("input:not([type=checkbox]), textarea, [contenteditable=true]"));

  // Before the page's own keys: Escape closes what is on top, and cancels no job below it.
  document.addEventListener(
    "keydown",
    (event) => {
      if (!isOpen() || document.fullscreenElement || event.ctrlKey || event.metaKey || event.altKey) return;
      const arrows = { ArrowRight: "#history-next", ArrowLeft: "#history-previous" };
      if (event.key === "Escape") isLarge() ? press("#history-back") : close();
      else if (isLarge() && arrows[event.key] && !isTyping(event.target)) press(arrows[event.key]);
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
    true,
  );

  window.cnxsHistory = { open, watch, close };
})();
