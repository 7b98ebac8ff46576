// What comes in and goes out of the page by hand: files to fetch, files dropped, and links that carry settings.
(() => {
  const START = "#s=";
  const KINDS = /\.(png|json)$/i;
  // Places that take dropped pictures for themselves.
  const OWN = "#photo, #map, #sketch, #train, input, textarea";

  function fetch(file) {
    if (!file?.url) return;
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name || "";
    document.body.append(link);
    link.click();
    link.remove();
  }

  async function copyLink(settings) {
    if (!settings) return;
    const link = location.href.split("#")[0] + START + settings;
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      prompt("", link); // where the browser keeps the clipboard to itself, the link can at least be seen
    }
  }

  // The settings in the address, once: a reload must not bring them back over what was changed since.
  function arrivedLink() {
    if (!location.hash.startsWith(START)) return "";
    const settings = location.hash.slice(START.length);
    history.replaceState(null, "", location.pathname + location.search);
    return settings;
  }

  addEventListener("hashchange", () => location.hash.startsWith(START) && location.reload());

  const wanted = (event) => event.dataTransfer?.types.includes("Files") && !event.target.closest?.(OWN);
  document.addEventListener("dragover", (event) => wanted(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!wanted(event)) return;
    event.preventDefault();
    const input = document.querySelector("input[type=file]:has(+ #restore)");
    const file = [...event.dataTransfer.files].find((one) => KINDS.test(one.name));
    if (!file || !input) return;
    const files = new DataTransfer();
    files.items.add(file);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });

  window.cnxsFiles = { fetch, copyLink, arrivedLink };
})();
