// What the live tags move on the page: trends, process pictures, the values beside set-points. The table is the source.
(() => {
  "use strict";
  const SAMPLES = 600;
  const trends = new Map();

  const number = (text) => (text === "TRUE" ? 1 : text === "FALSE" ? 0 : text === "" || text === "–" ? null : Number(text.replace(",", ".")));

  // Begins with what the gateway read for others who look, or nothing.
  const start = async (place) => {
    const trend = { place, xs: [], columns: {}, chart: null, longer: 0 };
    try {
      const answer = await fetch(place.dataset.source, { headers: { Accept: "application/json" } });
      if (answer.ok) {
        const known = (await answer.json()).trend;
        trend.xs = known.time;
        for (const [tag, values] of Object.entries(known.values)) trend.columns[tag] = values.map((value) => (value === null ? null : Number(value)));
      }
    } catch {
      // The table below says what is wrong; a trend begins once there are values.
    }
    trends.set(place.dataset.machine, trend);
  };

  const append = (machine, values) => {
    const trend = trends.get(machine);
    if (!trend || !window.MillwrightChart) return;
    const now = Date.now() / 1000;
    // The gateway's clock and the browser's may differ: time goes on, never back.
    trend.xs.push(Math.max(now, (trend.xs[trend.xs.length - 1] || 0) + 0.001));
    for (const tag of new Set([...Object.keys(trend.columns), ...values.keys()])) {
      trend.columns[tag] ||= new Array(trend.xs.length - 1).fill(null);
      trend.columns[tag].push(values.get(tag) ?? null);
    }
    if (trend.xs.length > SAMPLES) {
      trend.xs.shift();
      for (const column of Object.values(trend.columns)) column.shift();
    }
    // A longer trend is on the screen: these values wait for their turn.
    if (trend.longer) return;
    if (trend.chart) trend.chart.update(trend.xs, trend.columns);
    else show(trend, trend.xs, trend.columns);
  };

  const show = (trend, xs, columns) => {
    const { zone } = trend.place.dataset;
    trend.chart = window.MillwrightChart(trend.place, { zone, all: Object.keys(columns).length <= 8 });
    trend.chart.set(xs, columns);
  };

  const say = (trend, text) => {
    trend.chart = null;
    const line = document.createElement("span");
    line.className = "text-secondary";
    line.setAttribute("role", "status");
    line.textContent = text;
    trend.place.replaceChildren(line);
  };

  // Ten minutes are what was seen; the longer ones are asked for, anew each minute.
  const longer = async (trend, minutes) => {
    const { longer: address, nothing, broken } = trend.place.dataset;
    let found = null;
    try {
      const answer = await fetch(`${address}?minutes=${minutes}`, { headers: { Accept: "application/json" } });
      if (answer.ok) found = await answer.json();
    } catch {
      // Said below.
    }
    if (trend.longer !== minutes) return;
    if (!found || found.error) say(trend, found?.error || broken);
    else if (!found.time.length) say(trend, nothing);
    else show(trend, found.time, found.values);
  };

  const choose = (button) => {
    const group = button.closest("[data-spans]");
    const trend = trends.get(document.getElementById(group.dataset.spans).dataset.machine);
    if (!trend) return;
    for (const each of group.querySelectorAll("[data-minutes]")) {
      each.classList.toggle("active", each === button);
      each.setAttribute("aria-pressed", String(each === button));
    }
    const minutes = Number(button.dataset.minutes);
    clearInterval(trend.timer);
    trend.longer = minutes === 10 ? 0 : minutes;
    if (trend.longer) {
      longer(trend, minutes);
      trend.timer = setInterval(() => longer(trend, minutes), 60000);
    } else if (trend.xs.length) show(trend, trend.xs, trend.columns);
    else say(trend, "…");
  };

  const draw = (symbol, value) => {
    const { kind, low, high, scale, unit } = symbol.dataset;
    symbol.classList.toggle("mw-unknown", value === null);
    const on = value !== null && value !== 0;
    symbol.classList.toggle("mw-on", on);
    const reading = symbol.querySelector("[data-reading]");
    if (value === null) reading.textContent = "–";
    else if (kind === "tank" || kind === "value") reading.textContent = `${+(value * Number(scale)).toFixed(3)} ${unit}`.trim();
    else reading.textContent = symbol.closest("[data-words]").dataset.words.split("|")[on ? 1 : 0];
    if (kind === "tank") {
      const share = value === null ? 0 : Math.min(1, Math.max(0, (value - low) / (high - low)));
      const fill = symbol.querySelector(".mw-fill");
      fill.setAttribute("height", (86 * share).toFixed(1));
      fill.setAttribute("y", (107 - 86 * share).toFixed(1));
    }
  };

  const live = (group) => {
    const machine = group.dataset.live;
    const stale = group.dataset.error === "1";
    const values = new Map();
    for (const cell of group.querySelectorAll("[data-tag]")) values.set(cell.dataset.tag, number(cell.textContent.trim()));
    const lower = new Map([...values].map(([tag, value]) => [tag.toLowerCase(), value]));
    if (values.size && !stale) append(machine, values);
    for (const picture of document.querySelectorAll(`[data-picture="${machine}"]`)) {
      for (const symbol of picture.querySelectorAll("[data-bound]")) draw(symbol, stale ? null : lower.get(symbol.dataset.bound.toLowerCase()) ?? null);
    }
    for (const place of document.querySelectorAll(`[data-now="${machine}"]`)) place.textContent = (stale ? null : lower.get(place.dataset.of.toLowerCase())) ?? "–";
  };

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-trend]").forEach(start));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-minutes]");
    if (button) choose(button);
  });
  document.addEventListener("htmx:afterSettle", (event) => event.target.querySelectorAll?.("[data-live]").forEach(live));
})();
