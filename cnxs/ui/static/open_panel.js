// A link to a folded panel, such as <a href="#models">, opens it.
element.addEventListener("click", (event) => {
  const panel = document.querySelector(event.target.closest("a")?.getAttribute("href") ?? "none");
  if (!panel) return;
  event.preventDefault();
  const fold = panel.querySelector("button");
  if (!fold.classList.contains("open")) fold.click();
  panel.scrollIntoView({ behavior: "smooth" });
});
