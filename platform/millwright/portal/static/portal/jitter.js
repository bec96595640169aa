// Heat map of how late cycles began: time across, lateness up, the darker the more cycles. Drawn zooms. Needs uPlot.
(() => {
  "use strict";
  const place = document.getElementById("jitter-map");
  if (!place) return;
  const choice = document.getElementById("jitter-hours");
  const said = document.getElementById("jitter-said");
  const dark = () => document.documentElement.dataset.bsTheme === "dark";
  const clock = new Intl.DateTimeFormat(document.documentElement.lang, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: place.dataset.zone || undefined });
  const name = (limit) => (limit === null ? "…" : limit >= 1 ? `${+limit.toPrecision(3)} s` : limit >= 0.001 ? `${+(limit * 1e3).toPrecision(3)} ms` : `${+(limit * 1e6).toPrecision(3)} µs`);
  let plot = null, data = null, whole = null;
  const most = () => Math.max(1, ...data.counts.flat());
  const cells = (u) => {
    const { ctx } = u, top = Math.log1p(most());
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    data.times.forEach((time, column) => {
      const left = u.valToPos(time - data.step, "x", true), right = u.valToPos(time, "x", true);
      if (right < u.bbox.left || left > u.bbox.left + u.bbox.width) return;
      data.counts[column].forEach((count, row) => {
        if (!count) return;
        // Few late cycles must be seen among a million that were not: the logarithm, and never quite nothing.
        const share = 0.15 + (0.85 * Math.log1p(count)) / top;
        ctx.fillStyle = dark() ? `rgba(108, 178, 255, ${share})` : `rgba(11, 92, 173, ${share})`;
        const high = u.valToPos(row + 1, "y", true), low = u.valToPos(row, "y", true);
        ctx.fillRect(left, high, Math.max(1, right - left + 0.5), low - high);
      });
    });
    ctx.restore();
  };
  const draw = () => {
    // What was chosen stays, whichever of its ends is the map's own.
    const zoom = plot && whole && (plot.scales.x.min > whole[0] || plot.scales.x.max < whole[1]) ? { ...plot.scales.x } : null;
    plot?.destroy();
    place.replaceChildren();
    plot = null;
    if (!data.times.length) {
      said.textContent = place.dataset.empty;
      return;
    }
    const ink = getComputedStyle(place).color;
    const axis = { stroke: ink, font: "12px system-ui, sans-serif", grid: { show: false }, ticks: { stroke: ink, width: 1 } };
    // The first column has its own width; few columns are not stretched over all of it.
    const end = data.times[data.times.length - 1];
    whole = [Math.min(data.times[0] - data.step, end - 12 * data.step), end];
    plot = new uPlot(
      {
        padding: [null, 24, null, null],
        width: Math.max(place.clientWidth, 200),
        height: 260,
        legend: { show: false },
        cursor: { points: { show: false } },
        scales: { x: { time: true, range: (_u, low, high) => (low > data.times[0] || (low >= whole[0] && high < end) ? [low, Math.min(high, end)] : whole) }, y: { range: [0, data.limits.length] } },
        axes: [
          { ...axis, space: 110, values: (_u, ticks) => ticks.map((t) => clock.format(t * 1000)) },
          { ...axis, size: 80, splits: () => data.limits.map((_l, i) => i + 0.5), values: () => data.limits.map((limit, i) => (data.limits.length > 12 && i % 2 ? "" : name(limit))) },
        ],
        series: [{}, { show: true, stroke: "transparent", points: { show: false } }],
        hooks: {
          draw: [cells],
          setCursor: [(u) => {
            const at = u.cursor.idx;
            if (at === null || at === undefined || u.cursor.top < 0) return;
            const row = Math.floor(u.posToVal(u.cursor.top, "y"));
            if (data.counts[at]?.[row] !== undefined) said.textContent = `${clock.format(data.times[at] * 1000)} · ≤ ${name(data.limits[row])}: ${Math.round(data.counts[at][row])}`;
          }],
        },
      },
      [data.times, data.times.map(() => 0)],
      place,
    );
    if (zoom) plot.setScale("x", { min: zoom.min, max: zoom.max });
    const last = data.counts.map((column) => column.reduce((found, count, row) => (count ? row : found), 0));
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `${place.dataset.worst}: ${name(data.limits[Math.max(...last)])}`);
    said.textContent = `${place.dataset.worst}: ${name(data.limits[Math.max(...last)])}`;
  };
  const look = async () => {
    try {
      const answer = await fetch(`${place.dataset.source}?hours=${choice.value}`, { credentials: "same-origin" });
      const body = await answer.json();
      place.classList.toggle("mw-stale", !answer.ok && data !== null);
      if (!answer.ok) said.textContent = body.error;
      else {
        data = body;
        draw();
      }
    } catch {
      place.classList.add("mw-stale");
    }
  };
  choice.addEventListener("change", () => {
    plot?.destroy();
    plot = null;
    look();
  });
  new ResizeObserver(() => plot && plot.width !== place.clientWidth && plot.setSize({ width: Math.max(place.clientWidth, 200), height: 260 })).observe(place);
  new MutationObserver(() => data && draw()).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  look();
  setInterval(look, 15000);
})();
