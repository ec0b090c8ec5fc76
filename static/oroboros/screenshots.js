/* The slider between the pictures of production and of the preview. */
"use strict";
(() => {
  document.addEventListener("input", (event) => {
    const box = event.target.closest?.("[data-compare]");
    if (box) box.style.setProperty("--at", `${event.target.value}%`);
  });
})();
