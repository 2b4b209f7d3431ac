// Light, dark, or as the system says. Loaded in <head> without defer: before the first paint.
// A page has <select id="theme"> with the values "system", "light" and "dark".
"use strict";

(() => {
  const KEY = "elastic-yolo.theme";
  const root = document.documentElement;

  function stored() {
    try {
      return localStorage.getItem(KEY) ?? "system";
    } catch {
      return "system"; // the browser keeps nothing
    }
  }

  function apply(theme) {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    dispatchEvent(new Event("themechange"));
  }

  apply(stored());
  addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("theme");
    if (choice === null) return;
    choice.value = root.dataset.theme ?? "system";
    choice.addEventListener("change", () => {
      apply(choice.value);
      try {
        localStorage.setItem(KEY, choice.value);
      } catch {
        // It holds until the page is left.
      }
    });
  });
})();
