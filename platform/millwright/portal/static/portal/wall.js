// The wall: fetches its tiles again and again, and says so when what it shows is old.
(() => {
  "use strict";
  const EVERY = 2000, LIMIT = 6000;
  const wall = document.getElementById("wall");
  const stale = document.getElementById("wall-stale");
  const clock = document.getElementById("wall-clock");
  const show = new Intl.DateTimeFormat(document.documentElement.lang, { timeStyle: "medium", hourCycle: "h23", timeZone: clock.dataset.zone || undefined });
  // The board's own moment, so that a screen whose clock is wrong still tells right ages.
  let skew = 0, good = Date.now();
  const took = () => {
    good = Date.now();
    skew = Number(wall.firstElementChild.dataset.at) * 1000 - good;
  };
  const say = (word) => {
    stale.textContent = `${word} ${show.format(good + skew)}`;
    stale.hidden = false;
    document.body.classList.add("mw-wall-is-stale");
  };
  const fetchTiles = async () => {
    try {
      const answer = await fetch(wall.dataset.source, { signal: AbortSignal.timeout(LIMIT), credentials: "same-origin", cache: "no-store" });
      if (answer.redirected) say(stale.dataset.signedOut);
      else if (!answer.ok) say(stale.dataset.word);
      else {
        wall.innerHTML = await answer.text();
        took();
        stale.hidden = true;
        document.body.classList.remove("mw-wall-is-stale");
      }
    } catch {
      say(stale.dataset.word);
    }
    setTimeout(fetchTiles, EVERY);
  };
  const tick = () => {
    const now = Date.now() + skew;
    clock.textContent = show.format(now);
    for (const place of wall.querySelectorAll("[data-since]")) {
      const minutes = Math.max(0, Math.floor((now / 1000 - Number(place.dataset.since)) / 60));
      place.textContent = minutes < 60 ? `${minutes} min` : minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} d`;
    }
  };
  took();
  tick();
  setInterval(tick, 1000);
  setTimeout(fetchTiles, EVERY);
})();
