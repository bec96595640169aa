// The ledger by keyboard: J and K move, 1 to 4 give a cause, S says "seen", X ticks, Enter opens.
(() => {
  "use strict";
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const here = () => rows.indexOf(document.activeElement.closest?.("[data-row]"));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // Somebody writes, or the search lies above.
    if (event.target.closest("input:not([type=checkbox]), select, textarea, dialog")) return;
    const key = event.key.toLowerCase();
    if (key === "j" || key === "k") {
      const at = here();
      const next = at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + (key === "j" ? 1 : -1)));
      rows[next].focus();
      rows[next].scrollIntoView({ block: "nearest" });
      event.preventDefault();
      return;
    }
    const row = rows[here()];
    if (!row) return;
    if (key === "x") row.querySelector("input[type=checkbox]").click();
    else if (key === "enter" && event.target === row) row.querySelector("[data-open]").click();
    else {
      const button = row.querySelector(`[data-key="${CSS.escape(key)}"]`);
      if (!button) return;
      button.click();
    }
    event.preventDefault();
  });
})();
