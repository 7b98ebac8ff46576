// The page's own script: keyboard, the tab's title, what a tab remembers. No state of the work: that is the server's.
(() => {
  const MEMORY = "cnxs.memory";
  const OWNER = "cnxs.owner";
  const tabs = "BroadcastChannel" in window ? new BroadcastChannel("cnxs") : null;
  const heard = new Set();
  const me = Math.random().toString(36).slice(2);
  if (tabs) {
    tabs.onmessage = ({ data }) => {
      if (data.ask && data.ask !== me) tabs.postMessage({ answer: data.ask });
      if (data.answer === me) heard.add("other");
    };
  }

  function read(storage) {
    try {
      return JSON.parse(storage.getItem(MEMORY)) || {};
    } catch {
      return {};
    }
  }

  function write(storage, change) {
    try {
      storage.setItem(MEMORY, JSON.stringify({ ...read(storage), ...change }));
    } catch {
      // A full or forbidden storage costs the memory over a reload, nothing else.
    }
  }

  // The browser's name for itself, for as long as its storage lasts: what the server tells its jobs apart by.
  function owner() {
    const bytes = Array.from(crypto.getRandomValues(new Uint8Array(24)));
    const fresh = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
    try {
      localStorage.setItem(OWNER, localStorage.getItem(OWNER) || fresh);
      return localStorage.getItem(OWNER);
    } catch {
      return fresh; // without a storage, each load of the page is a new user
    }
  }

  // The tab's own memory first; words typed in a tab that is gone come from the browser's.
  async function arrival() {
    const own = sessionStorage.getItem(MEMORY) ? read(sessionStorage) : {};
    if (tabs) {
      tabs.postMessage({ ask: me });
      await new Promise((resolve) => setTimeout(resolve, 120));
    }
    const { prompt, negative_prompt } = read(localStorage);
    const source = sessionStorage.getItem("cnxs.source");
    return JSON.stringify({ prompt, negative_prompt, ...own, source, owner: owner(), alone: heard.size === 0 });
  }

  // What is used before the page has remembered itself would be overwritten by it: for that moment it waits.
  const waiting = document.documentElement.classList;
  const arrived = () => waiting.remove("arriving");
  waiting.add("arriving");
  setTimeout(arrived, 30000); // should nothing answer at all: a slow machine takes its time

  function keep(change) {
    write(sessionStorage, change);
    if ("prompt" in change) write(localStorage, change);
  }

  // Gradio's menus tell of an input when they are merely left as well: what stood there on entering tells the two apart.
  const stood = {};

  function enter(menu, value) {
    stood[menu] = value;
  }

  /** Return the values of an input of a menu, with null in the menu's place if nothing else was chosen in it. */
  function choose(menu, place, values) {
    const before = stood[menu];
    stood[menu] = values[place];
    return values.map((value, index) => (index === place && value === before ? null : value));
  }

  async function copyMap() {
    const image = document.querySelector("#control-map img");
    if (!image || !navigator.clipboard || !window.ClipboardItem) return;
    const blob = fetch(image.src).then((response) => response.blob());
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
  }

  // The row of all maps stays while another kind is chosen, there or in the menu: only its mark moves.
  function markMap(kind) {
    for (const print of document.querySelectorAll("#all-maps [data-kind]"))
      print.setAttribute("aria-pressed", print.dataset.kind === kind);
  }

  // Its own button empties it; most strokes of a sketch find none, and cost nothing.
  function closeMaps() {
    document.querySelector("#all-maps .quiet")?.click();
  }
  document.addEventListener("pointerup", ({ target }) => target.closest?.("#sketch") && closeMaps(), true);

  // The event that keeps Gradio's stream open (see hold_line in line.py) goes first, every other waits for it.
  const PULSE = "cnxs.pulse";
  const plainFetch = window.fetch.bind(window);
  let beat;
  const beating = new Promise((resolve) => (beat = resolve));
  window.cnxsTabs.seated.then(() => setTimeout(beat, 30000));
  window.fetch = async (input, init) => {
    const joins = String(input?.url ?? input).includes("/queue/join");
    const isPulse = joins && String(init?.body).includes(PULSE);
    if (joins) await (isPulse ? window.cnxsTabs.seated : beating);
    const response = await plainFetch(input, init);
    if (isPulse) beat();
    return response;
  };

  // A picture hangs as large as the wall allows, whatever its own size: its shape decides the width.
  document.addEventListener(
    "load",
    ({ target }) => {
      if (target instanceof HTMLImageElement && target.closest("#stage, #history-picture"))
        target.style.setProperty("--ratio", target.naturalWidth / target.naturalHeight);
    },
    true,
  );

  function press(selector) {
    const button = document.querySelector(selector);
    if (button && !button.disabled && button.offsetParent) button.click();
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      // A text box tells the server of its text when the typing pauses: leaving it does so at once.
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      press(event.shiftKey ? "#compare" : "#generate");
    } else if (event.key === "Escape" && !document.fullscreenElement) {
      press("#cancel");
    }
  });

  function watch() {
    let title = document.title;
    let shownJob = null;
    new MutationObserver(() => {
      const { percent, job } = document.querySelector("#status .status")?.dataset || {};
      if (job && job !== shownJob) keep({ job: (shownJob = job) });
      if (!/^\d+ % · /.test(document.title)) title = document.title;
      const wanted = percent ? `${percent} % · ${title}` : title;
      if (document.title !== wanted) document.title = wanted;
    }).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-percent", "data-job"] });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
  else watch();

  window.cnxs = { PULSE, arrival, arrived, keep, enter, choose, copyMap, markMap, closeMaps };
})();
