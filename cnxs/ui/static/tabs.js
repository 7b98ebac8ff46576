// A browser keeps six connections to one server for all its tabs. Each tab of the studio holds one for its answers, and
// one is needed for everything else: a sixth tab says so and waits until another is closed, instead of hanging all six.
(() => {
  const PLACES = 5;
  const AGAIN = 500; // milliseconds until the places are looked at again

  /** Take a place for as long as this tab lives, if nobody has it. */
  const take = (place) =>
    new Promise((resolve) => {
      const taken = navigator.locks.request(`cnxs.tab.${place}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock && new Promise(() => {});
      });
      taken.catch(() => resolve(true)); // a browser that gives no locks here: its tabs are not counted
    });

  async function anyPlace() {
    for (let place = 0; place < PLACES; place++) if (await take(place)) return true;
    return false;
  }

  async function seat() {
    if (!navigator.locks) return; // pages over the network without encryption have none: their tabs are not counted
    while (!(await anyPlace())) {
      document.documentElement.classList.add("crowded");
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
    document.documentElement.classList.remove("crowded");
  }

  window.cnxsTabs = { seated: seat() };
})();
