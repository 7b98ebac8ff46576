// One listener for the whole strip: its content is replaced as images arrive.
element.addEventListener("click", (event) => {
  const print = event.target.closest("button[data-cell]");
  if (print && !print.disabled) trigger("click", { cell: Number(print.dataset.cell), pin: print.dataset.pin ?? "" });
});
element.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const prints = [...element.querySelectorAll("button.print:not(:disabled)")];
  const next = prints.includes(event.target) ? prints[prints.indexOf(event.target) + step] : null;
  if (next) {
    event.preventDefault();
    next.focus();
    next.click();
  }
});
