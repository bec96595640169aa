// The little that the server cannot do: theme, form conveniences, the age of live data.
(() => {
  "use strict";
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-toggle]")) return;
    const root = document.documentElement;
    root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    localStorage.setItem("mw-theme", root.dataset.bsTheme);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
  });
  // A form that came back refused begins where it is wrong.
  document.addEventListener("DOMContentLoaded", () => document.querySelector("main form .is-invalid")?.focus());
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
  // htmx sends Django's CSRF token from the page's own cookie-free form field.
  document.addEventListener("htmx:configRequest", (event) => {
    const field = document.querySelector("[name=csrfmiddlewaretoken]");
    if (field) event.detail.headers["X-CSRFToken"] = field.value;
  });
  // A stream that broke must not look live.
  document.addEventListener("htmx:sseError", (event) => event.target.classList.add("mw-stale"));
  document.addEventListener("htmx:sseOpen", (event) => event.target.classList.remove("mw-stale"));
  // What the live steps say may be done now, whatever was true when the page was loaded.
  document.addEventListener("htmx:afterSwap", (event) => {
    const offered = event.target.querySelector?.("[data-offered]")?.dataset.offered.split(" ");
    if (!offered) return;
    for (const button of document.querySelectorAll("button[data-offer]")) {
      button.disabled = !offered.includes(button.value);
    }
  });
  // Ctrl-K, and the loupe in the menu, open the search; without this script the loupe is a link.
  const dialog = document.getElementById("search-dialog");
  const openSearch = (event) => {
    if (!dialog) return;
    event.preventDefault();
    if (!dialog.open) dialog.showModal();
    dialog.querySelector("input").select();
  };
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") openSearch(event);
    if (dialog?.open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const stops = [dialog.querySelector("input"), ...dialog.querySelectorAll("a")];
      const step = event.key === "ArrowDown" ? 1 : stops.length - 1;
      stops[(stops.indexOf(document.activeElement) + step) % stops.length].focus();
      event.preventDefault();
    }
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-search-open]")) openSearch(event);
    else if (event.target === dialog) dialog.close();
  });
  // Takes what was discovered over into the form.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-fill]");
    if (!button) return;
    const field = document.getElementById(button.dataset.fill);
    field.value = button.value;
    for (const [id, value] of Object.entries(JSON.parse(button.dataset.fillAlso || "{}"))) {
      const other = document.getElementById(id);
      other.value = value;
      other.dispatchEvent(new Event("change", { bubbles: true }));
    }
    field.focus();
  });
  // Copies addresses that engineers paste into their tools.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("text-success");
    setTimeout(() => button.classList.remove("text-success"), 1200);
  });
})();
