// The drawer of training: opening, closing, and Escape.
(() => {
  let opener = null;
  const drawer = () => document.querySelector("#train");
  const isOpen = () => drawer()?.hasAttribute("data-open");

  function rest(on) {
    // What lies below the drawer cannot be reached by keyboard or screen reader.
    for (const part of document.querySelectorAll("#masthead, #studio, #models, #keys")) part.inert = on;
  }

  function open() {
    if (isOpen()) return;
    opener = document.activeElement;
    drawer().setAttribute("data-open", "");
    drawer().setAttribute("role", "dialog");
    drawer().setAttribute("aria-modal", "true");
    drawer().setAttribute("aria-label", drawer().querySelector("h2")?.textContent ?? "");
    rest(true);
    document.querySelector("#train-close")?.focus();
  }

  function close() {
    if (!isOpen()) return;
    drawer().removeAttribute("data-open");
    rest(false);
    opener?.focus?.();
  }

  // Before the page's own keys: Escape closes the drawer, and cancels no job below it. No key of the page acts below.
  document.addEventListener(
    "keydown",
    (event) => {
      if (!isOpen() || document.fullscreenElement) return;
      const leaves = event.key === "Escape" && !document.querySelector("#train [aria-expanded=true]");
      if (!leaves && !(event.key === "Enter" && (event.ctrlKey || event.metaKey))) return;
      if (leaves) close();
      event.preventDefault();
      event.stopPropagation();
    },
    true,
  );

  window.cnxsTrain = { open, close };
})();
