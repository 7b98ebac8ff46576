// A call from the browser when a job ends that nobody is looking at.
(() => {
  let running = null;
  let wanted = false;
  try {
    wanted = JSON.parse(sessionStorage.getItem("cnxs.memory"))?.notify === true;
  } catch {
    // No memory: nothing was asked for.
  }

  /** Ask for the browser's leave; return whether calls are on now. */
  window.cnxsNotify = async (on) => {
    const allowed = on && "Notification" in window && (await Notification.requestPermission()) === "granted";
    document.documentElement.classList.toggle("notify-refused", on && !allowed);
    wanted = Boolean(allowed);
    window.cnxs.keep({ notify: wanted });
    return wanted;
  };

  function call(sentence) {
    const note = new Notification(document.title.replace(/^\d+ % · /, ""), { body: sentence, tag: "cnxs" });
    note.onclick = () => {
      window.focus();
      note.close();
    };
  }

  function look() {
    const status = document.querySelector("#status .status[data-job]");
    if (status?.classList.contains("running")) {
      running = status.dataset.job;
    } else if (status && status.dataset.job === running) {
      running = null;
      if (wanted && (document.hidden || !document.hasFocus())) call(status.querySelector("[role]").textContent);
    }
  }

  const options = { subtree: true, childList: true, attributes: true, attributeFilter: ["class", "data-job"] };
  const watch = () => new MutationObserver(look).observe(document.body, options);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
  else watch();
})();
