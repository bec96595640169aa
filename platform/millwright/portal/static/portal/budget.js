// The budget of a month over time, with what changed as numbered marks; drawn zooms, a double click shows all. Needs uPlot.
(() => {
  "use strict";
  const place = document.getElementById("budget-chart");
  if (!place) return;
  let plot = null, data = JSON.parse(document.getElementById(place.dataset.budget).textContent);
  const lang = document.documentElement.lang;
  const zone = place.dataset.zone || undefined;
  const day = new Intl.DateTimeFormat(lang, { day: "numeric", month: "short", timeZone: zone });
  const minute = new Intl.DateTimeFormat(lang, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone });
  const dark = () => document.documentElement.dataset.bsTheme === "dark";
  // uPlot wants one axis of times: the even line is drawn at the corners of the other.
  const columns = () => {
    const times = [...new Set([...data.times, data.begin, data.end])].sort((a, b) => a - b);
    const last = data.times[data.times.length - 1];
    const at = new Map();
    data.times.forEach((time, index) => at.set(time, data.left[index]));
    return [
      times,
      times.map((time) => (time > last ? null : at.has(time) ? at.get(time) : null)),
      times.map((time) => data.whole * (1 - (time - data.begin) / (data.end - data.begin))),
    ];
  };
  const marks = (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.strokeStyle = ctx.fillStyle = dark() ? "#c0a3ff" : "#6a3fb5";
    ctx.setLineDash([3, 3]);
    let free = -Infinity;
    for (const mark of [...data.marks].reverse()) {
      const x = u.valToPos(mark.at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top + 14 * devicePixelRatio);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      // Numbers that would cover one another are left out; zooming shows them.
      if (x - free > 16 * devicePixelRatio) {
        ctx.fillText(String(mark.number), x, bbox.top + 10 * devicePixelRatio);
        free = x;
      }
    }
    ctx.restore();
  };
  const draw = () => {
    plot?.destroy();
    place.replaceChildren();
    const ink = getComputedStyle(place).color;
    const grid = { stroke: dark() ? "#ffffff22" : "#00000018", width: 1 };
    const axis = { stroke: ink, grid, ticks: grid, font: "12px system-ui, sans-serif" };
    const values = columns();
    plot = new uPlot(
      {
        width: Math.max(place.clientWidth, 200),
        height: 260,
        scales: { x: { time: true, range: (_u, low, high) => (low === null ? [data.begin, data.end] : [low, high]) } },
        axes: [
          { ...axis, space: 90, values: (_u, ticks, _a, _s, step) => ticks.map((t) => (step >= 86400 ? day : minute).format(t * 1000)) },
          { ...axis, size: 70, values: (_u, ticks) => ticks.map((t) => `${t} min`) },
        ],
        series: [
          { value: (_u, t) => (t === null ? "–" : minute.format(t * 1000)), label: "" },
          { label: place.dataset.left, stroke: dark() ? "#6cb2ff" : "#0b5cad", width: 2, fill: dark() ? "#6cb2ff22" : "#0b5cad18", points: { show: false }, spanGaps: true, value: (_u, v) => (v === null ? "–" : `${v.toFixed(1)} min`) },
          { label: place.dataset.even, stroke: ink, dash: [6, 4], width: 1, points: { show: false }, value: (_u, v) => (v === null ? "–" : `${v.toFixed(1)} min`) },
        ],
        hooks: { draw: [marks] },
      },
      values,
      place,
    );
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `${place.dataset.left}: ${data.left[0]} → ${data.left[data.left.length - 1]} (${minute.format(data.begin * 1000)} – ${minute.format(data.times[data.times.length - 1] * 1000)})`);
  };
  draw();
  new ResizeObserver(() => plot && plot.width !== place.clientWidth && plot.setSize({ width: Math.max(place.clientWidth, 200), height: 260 })).observe(place);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  // The month that runs goes on: the page is asked again, the zoom stays.
  if (place.dataset.source) {
    setInterval(async () => {
      try {
        const answer = await fetch(place.dataset.source, { credentials: "same-origin" });
        if (!answer.ok || answer.redirected) return place.classList.add("mw-stale");
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        const said = fresh.getElementById("budget-data");
        if (!said) return;
        data = JSON.parse(said.textContent);
        const { min, max } = plot.scales.x;
        const zoomed = min > data.begin || max < data.end;
        plot.setData(columns(), !zoomed);
        // Without new scales uPlot keeps the data and draws nothing.
        if (zoomed) plot.redraw();
        place.classList.remove("mw-stale");
      } catch {
        place.classList.add("mw-stale");
      }
    }, 10000);
  }
})();
