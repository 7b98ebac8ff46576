// A page of small pictures: props.value is {items: [{id, image, caption, below, favourite}], empty}. A print that was
// there before stays the same element, so that a page which moves keeps the reader's focus and flickers nowhere.
const grid = element.querySelector(".prints");
const empty = element.querySelector(".prints-empty");
let prints = new Map();

function made(item) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "print";
  button.dataset.id = item.id;
  button.append(document.createElement(item.image ? "img" : "span"));
  const picture = button.firstChild;
  if (item.image) Object.assign(picture, { src: item.image.url, alt: "", loading: "lazy", decoding: "async" });
  else picture.className = "blank";
  for (const name of ["caption", "below", "star"]) {
    const line = document.createElement("span");
    line.className = name;
    button.append(line);
  }
  return button;
}

function show() {
  const { items = [], empty: sentence = "" } = props.value || {};
  const before = prints;
  prints = new Map(items.map((item) => [item.id, before.get(item.id) ?? made(item)]));
  for (const item of items) {
    const button = prints.get(item.id);
    button.title = item.caption;
    button.querySelector(".caption").textContent = item.caption;
    button.querySelector(".below").textContent = item.below;
    button.querySelector(".star").textContent = item.favourite && "★";
    button.querySelector(".star").setAttribute("aria-label", item.favourite);
  }
  grid.replaceChildren(...prints.values());
  empty.textContent = items.length ? "" : sentence;
}

element.addEventListener("click", (event) => {
  const print = event.target.closest("button[data-id]");
  if (print) trigger("click", { id: print.dataset.id });
});
watch("value", show);
show();
