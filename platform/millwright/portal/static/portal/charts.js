// Charts of tags over time: numbers above, switches below as a logic analyser shows them. Needs uPlot.
(() => {
  "use strict";
  const PALETTE = {
    light: ["#0b5cad", "#b3261e", "#1e7d32", "#8a5a00", "#6a3fb5", "#00707a", "#a3195b", "#4d4d4d"],
    dark: ["#6cb2ff", "#ff8f85", "#7fd88f", "#f2b84b", "#c0a3ff", "#5fd4de", "#ff8cc0", "#c8c8c8"],
  };
  const theme = () => (document.documentElement.dataset.bsTheme === "dark" ? "dark" : "light");
  const isSwitch = (column) => column.every((value) => value === 0 || value === 1 || value === null);
  const changes = (column) => column.some((value) => value !== column[0]);

  class Chart {
    // columns: {tag: numbers}; options: {seconds: x is virtual seconds, else epoch seconds; height}
    constructor(place, options = {}) {
      this.place = place;
      this.options = options;
      this.hidden = null;
      this.clock = new Intl.DateTimeFormat(document.documentElement.lang, { timeStyle: "medium", hourCycle: "h23", timeZone: options.zone || undefined });
      this.plots = [];
      this.legend = document.createElement("div");
      this.legend.className = "mw-legend";
      this.canvas = document.createElement("div");
      this.canvas.setAttribute("role", "img");
      this.canvas.className = "mw-chart";
      place.replaceChildren(this.canvas, this.legend);
      this.observer = new ResizeObserver(() => this.resize());
      this.observer.observe(this.canvas);
    }

    set(xs, columns) {
      this.xs = xs;
      this.columns = columns;
      const tags = Object.keys(columns);
      if (this.hidden === null) {
        // What never changes only fills the chart; it can be switched on.
        const still = this.options.all ? [] : tags.filter((tag) => !changes(columns[tag]));
        this.hidden = new Set(still.length === tags.length ? [] : still);
      }
      this.render();
    }

    update(xs, columns) {
      this.xs = xs;
      this.columns = columns;
      const known = this.plots.flatMap((plot) => plot.tags);
      const shown = Object.keys(columns).filter((tag) => !this.hidden.has(tag));
      if (known.length !== shown.length || known.some((tag) => !shown.includes(tag))) return this.render();
      if (this.plots.some((plot) => plot.tags.some((tag) => isSwitch(columns[tag]) !== plot.switches))) return this.render();
      for (const plot of this.plots) plot.uplot.setData(this.data(plot.tags, plot.switches));
      this.values();
    }

    data(tags, switches) {
      return [
        this.xs,
        ...tags.map((tag, lane) =>
          switches ? this.columns[tag].map((v) => (v === null ? null : tags.length - 1 - lane + v * 0.7)) : this.columns[tag]),
      ];
    }

    colour(tag) {
      const palette = PALETTE[theme()];
      return palette[Object.keys(this.columns).indexOf(tag) % palette.length];
    }

    render() {
      for (const plot of this.plots) plot.uplot.destroy();
      this.canvas.replaceChildren();
      this.plots = [];
      const tags = Object.keys(this.columns).filter((tag) => !this.hidden.has(tag));
      const groups = [
        [tags.filter((tag) => !isSwitch(this.columns[tag])), false],
        [tags.filter((tag) => isSwitch(this.columns[tag])), true],
      ];
      for (const [group, switches] of groups) if (group.length) this.plots.push(this.plot(group, switches));
      this.canvas.setAttribute("aria-label", tags.map((tag) => this.summary(tag)).join("; ") || "–");
      this.renderLegend();
    }

    summary(tag) {
      const known = this.columns[tag].filter((value) => value !== null);
      if (!known.length) return `${tag}: –`;
      return `${tag}: ${known[0]} → ${known[known.length - 1]} (${Math.min(...known)} … ${Math.max(...known)})`;
    }

    plot(tags, switches) {
      // As the page computed it: a canvas knows no variables.
      const ink = getComputedStyle(this.place).color;
      const grid = { stroke: theme() === "dark" ? "#ffffff22" : "#00000018", width: 1 };
      const narrow = this.canvas.clientWidth < 560;
      const lanes = { size: narrow ? 96 : 140, splits: () => tags.map((_t, i) => tags.length - 1 - i + 0.35), values: () => tags.map((tag) => (tag.length > (narrow ? 13 : 20) ? `…${tag.slice(-(narrow ? 12 : 19))}` : tag)), grid: { show: false }, ticks: { show: false } };
      const axis = { stroke: ink, grid, ticks: grid, font: "12px system-ui, sans-serif" };
      const uplot = new uPlot(
        {
          width: Math.max(this.canvas.clientWidth, 200),
          height: switches ? 46 + tags.length * 26 : this.options.height || (narrow ? 180 : 240),
          legend: { show: false },
          cursor: { sync: { key: this.place.id || "mw" }, drag: { x: true, y: false }, points: { size: 6 } },
          scales: { x: { time: !this.options.seconds }, y: switches ? { range: [-0.15, tags.length] } : { range: (_u, low, high) => (low === high ? [low - 1, high + 1] : [low - (high - low) * 0.05, high + (high - low) * 0.05]) } },
          axes: [
            { ...axis, values: this.options.seconds ? (_u, ticks) => ticks.map((t) => `${+t.toFixed(6)} s`) : (_u, ticks) => ticks.map((t) => this.clock.format(t * 1000)), space: this.options.seconds ? undefined : 80 },
            switches ? { ...axis, ...lanes } : { ...axis, size: switches || !narrow ? 140 : 96 },
          ],
          series: [{}, ...tags.map((tag) => ({ label: tag, stroke: this.colour(tag), width: 1.75, points: { show: false }, paths: switches ? uPlot.paths.stepped({ align: 1 }) : undefined }))],
          hooks: { setCursor: [(u) => this.values(u.cursor.idx)] },
        },
        this.data(tags, switches),
        this.canvas,
      );
      return { tags, switches, uplot };
    }

    renderLegend() {
      this.legend.replaceChildren(
        ...Object.keys(this.columns).map((tag) => {
          const button = document.createElement("button");
          const mark = document.createElement("span");
          const value = document.createElement("output");
          button.type = "button";
          button.className = "mw-legend-entry";
          button.setAttribute("aria-pressed", String(!this.hidden.has(tag)));
          mark.className = "mw-legend-mark";
          mark.style.backgroundColor = this.hidden.has(tag) ? "transparent" : this.colour(tag);
          mark.style.borderColor = this.colour(tag);
          button.append(mark, document.createTextNode(` ${tag} `), value);
          button.addEventListener("click", () => {
            if (!this.hidden.delete(tag)) this.hidden.add(tag);
            this.render();
            [...this.legend.children].find((each) => each.dataset.tag === tag)?.focus();
          });
          button.dataset.tag = tag;
          return button;
        }),
      );
      this.values();
    }

    values(index) {
      const at = index ?? this.xs.length - 1;
      for (const button of this.legend.children) {
        const value = this.columns[button.dataset.tag]?.[at];
        button.lastElementChild.textContent = value === null || value === undefined ? "–" : String(+value.toFixed(3));
      }
    }

    resize() {
      for (const plot of this.plots) {
        const width = Math.max(this.canvas.clientWidth, 200);
        if (width !== plot.uplot.width) plot.uplot.setSize({ width, height: plot.uplot.height });
      }
    }
  }

  const charts = new Set();
  const fill = (root) => {
    for (const place of root.querySelectorAll?.("[data-trace]") || []) {
      if (place.dataset.drawn) continue;
      place.dataset.drawn = "1";
      const draw = () => {
        const data = JSON.parse(document.getElementById(place.dataset.trace).textContent);
        const chart = new Chart(place, { seconds: true });
        chart.set(data.time_us.map((time) => time / 1e6), data.values);
        charts.add(chart);
      };
      // A closed fold has no width to draw in.
      const fold = place.closest("details");
      if (fold && !fold.open) fold.addEventListener("toggle", draw, { once: true });
      else draw();
    }
  };
  window.MillwrightChart = (place, options) => {
    const chart = new Chart(place, options);
    charts.add(chart);
    return chart;
  };
  document.addEventListener("DOMContentLoaded", () => fill(document));
  document.addEventListener("htmx:afterSettle", (event) => fill(event.target));
  new MutationObserver(() => charts.forEach((chart) => chart.columns && chart.render())).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
})();
