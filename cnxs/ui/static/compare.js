// The strip and the grid: arrow keys from anywhere on the page, and how far each image in the making is.
(() => {
  const ELSEWHERE =
    "input, textarea, select, [contenteditable], [role=tab], [role=slider], [role=listbox], dialog, [role=dialog], .cnxs-canvas, #examples";

  // Left and right step through the images of the strip, up and down through the rows of a grid.
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.target.closest?.(ELSEWHERE) || document.querySelector("#history[data-open]")) return;
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    const shown = document.querySelector('#strip .print[aria-pressed="true"]');
    if (!step || !shown) return;
    const row = shown.closest("tr");
    const prints = [...document.querySelectorAll("#strip button.print")];
    const across = row ? row.querySelectorAll("button.print").length : 0;
    if (step[1] && !row) return; // a strip has one row: up and down scroll the page
    const next = prints[prints.indexOf(shown) + step[0] + step[1] * across];
    event.preventDefault();
    if (next && !next.disabled) next.click();
  });

  function progress() {
    const cells = document.querySelector("#status .status")?.dataset.cells;
    for (const entry of cells ? cells.split(" ") : []) {
      const [cell, percent] = entry.split(":");
      document.querySelector(`#strip .print[data-cell="${cell}"] .making`)?.style.setProperty("--done", `${percent}%`);
    }
  }

  function watch() {
    const options = { subtree: true, childList: true, attributes: true, attributeFilter: ["data-cells"] };
    new MutationObserver(progress).observe(document.body, options);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
  else watch();
})();
