// The list of models: a press on one of its buttons triggers `click` with what to do and with which model. Progress
// arrives apart from the list, as {name: {fraction, words}}, so that no button is replaced while it is pressed.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-act]");
  if (button) trigger("click", { act: button.dataset.act, name: button.dataset.name });
});
function showProgress() {
  for (const [name, { fraction, words }] of Object.entries(props.progress ?? {})) {
    const bar = element.querySelector(`[data-progress="${CSS.escape(name)}"]`);
    if (!bar) continue;
    bar.setAttribute("aria-valuenow", Math.round(100 * fraction));
    bar.querySelector("i").style.width = `${100 * fraction}%`;
    bar.nextElementSibling.textContent = words;
  }
}
watch(["progress"], showProgress);
showProgress();
