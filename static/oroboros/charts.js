/* The dashboard's charts: fetched once they come near the screen, and drawn by unfold, with the page's colour of text. */
"use strict";
(() => {
  function setTextColour() {
    const isDark = document.documentElement.classList.contains("dark");
    const name = `--color-base-${isDark ? 300 : 600}`;
    Chart.defaults.color = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  async function loadCharts(place) {
    const url = new URL(place.dataset.charts, location.href);
    url.searchParams.set("live", "1"); // without the page around them
    try {
      const response = await fetch(url, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      place.replaceChildren(document.importNode(page.querySelector("[data-charts-content]"), true));
    } catch (error) {
      place.querySelector("[data-charts-state]").textContent = `The charts could not be loaded (${error.message}).`;
      return;
    }
    renderCharts();
  }

  document.addEventListener("DOMContentLoaded", () => {
    // Before unfold, which draws at this event and again when the page becomes light or dark.
    setTextColour();
    watchClassChanges("html", setTextColour);
    const place = document.querySelector("[data-charts]");
    if (!place) return;
    const near = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
      loadCharts(place);
    }, { rootMargin: "400px" });
    near.observe(place);
  });
})();
