/* Live pages: parts of the page are reloaded while something runs, and growing logs are followed. */
"use strict";
(() => {
  const LOG_BYTES = 65536;
  const logs = new WeakMap();

  function formatDuration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const h = Math.floor(whole / 3600), m = Math.floor((whole % 3600) / 60), s = whole % 60;
    if (h) return `${h} h ${String(m).padStart(2, "0")} min`;
    return m ? `${m} min ${String(s).padStart(2, "0")} s` : `${s} s`;
  }

  function updateDurations() {
    for (const part of document.querySelectorAll("[data-since]")) {
      part.textContent = formatDuration((Date.now() - Date.parse(part.dataset.since)) / 1000);
    }
    for (const part of document.querySelectorAll("[data-until]")) {
      part.textContent = `${formatDuration((Date.parse(part.dataset.until) - Date.now()) / 1000)} left`;
    }
  }

  // A log is read from where the last answer ended; the header X-Oroboros-Next has that offset.
  async function readLog(details) {
    const box = details.querySelector("pre");
    const state = logs.get(box) || { at: null, busy: false, decoder: new TextDecoder() };
    logs.set(box, state);
    if (state.busy) return;
    state.busy = true;
    try {
      const response = await fetch(`${details.dataset.log}&from=${state.at ?? -LOG_BYTES}`);
      if (response.ok) {
        const next = Number(response.headers.get("X-Oroboros-Next"));
        const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
        const bytes = await response.arrayBuffer();
        if (state.at === null && next > bytes.byteLength) box.append("…\n");
        box.append(state.decoder.decode(bytes, { stream: true }));
        state.at = next;
        if (atEnd) box.scrollTop = box.scrollHeight;
      } else {
        box.textContent = `The log could not be loaded (status ${response.status}).`;
        delete details.dataset.running;
      }
    } finally {
      state.busy = false;
    }
  }

  function followLogs() {
    for (const details of document.querySelectorAll("details[data-log]")) {
      const box = details.querySelector("pre");
      if (details.open && ("running" in details.dataset || !logs.has(box))) readLog(details);
    }
  }

  // The last HTML of each part as the server sent it. A part is replaced only when that changes, so
  // that open details and selections survive.
  const lastHtml = new Map();
  const findParts = (root) => new Map([...root.querySelectorAll("[data-part]")].map((p) => [p.dataset.part, p]));

  // A log that is part of the page is shown from its end.
  function scrollLogsToEnd(root) {
    for (const box of root.querySelectorAll("pre[data-tail]")) box.scrollTop = box.scrollHeight;
  }

  function replacePart(current, fresh) {
    const wasOpen = current.querySelector("details[data-log]")?.open;
    const copy = document.importNode(fresh, true);
    const details = copy.querySelector("details[data-log]");
    if (details && wasOpen) details.open = true;
    current.replaceWith(copy);
    scrollLogsToEnd(copy);
  }

  async function refresh(page) {
    const url = new URL(location.href);
    url.searchParams.set("live", "1");
    const response = await fetch(url, { headers: { Accept: "text/html" }, redirect: "error" });
    if (!response.ok) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const root = fresh.querySelector("[data-live]");
    // The difference is not reloaded. A new commit therefore needs the whole page.
    if (root?.dataset.commit !== page.dataset.commit) return location.reload();
    const current = findParts(document);
    for (const [name, part] of findParts(fresh)) {
      if (current.has(name) && lastHtml.get(name) !== part.outerHTML) {
        if (lastHtml.has(name) || current.get(name).outerHTML !== part.outerHTML) replacePart(current.get(name), part);
        lastHtml.set(name, part.outerHTML);
      }
    }
    page.dataset.live = root?.dataset.live || "";
    updateDurations();
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const [name, part] of findParts(document)) lastHtml.set(name, part.outerHTML);
    updateDurations();
    scrollLogsToEnd(document);
    followLogs();
    setInterval(updateDurations, 1000);
    setInterval(followLogs, 1000);
    document.addEventListener("toggle", followLogs, true);
    const page = document.querySelector("[data-live]");
    if (!page || !page.dataset.live) return;
    const loop = async () => {
      const seconds = Number(page.dataset.live);
      if (!seconds) return;
      if (!document.hidden) await refresh(page).catch(() => {});
      setTimeout(loop, seconds * 1000);
    };
    setTimeout(loop, Number(page.dataset.live) * 1000);
  });
})();
