// Runs before the page is drawn, so that nobody sees the wrong colors flash by.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.theme ?? (system.matches ? "dark" : "light");

  function remembered() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage may be forbidden
    }
  }

  function choose(theme) {
    const asSystem = theme === (system.matches ? "dark" : "light");
    if (asSystem) delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      if (asSystem) localStorage.removeItem("theme");
      else localStorage.setItem("theme", theme);
    } catch {
      // the choice then lasts until the page is left
    }
  }

  const kept = remembered();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const name = () => {
      const other = current() === "dark" ? "light" : "dark";
      button.setAttribute("aria-label", `Switch to ${other} colors`);
      button.title = `Switch to ${other} colors`;
      button.dataset.shown = current();
    };
    button.addEventListener("click", () => {
      choose(current() === "dark" ? "light" : "dark");
      name();
    });
    system.addEventListener("change", name);
    name();
  });
})();
