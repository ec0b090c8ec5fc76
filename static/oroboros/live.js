/* Pages that follow what happens: parts of the page are asked for again, logs are read on. */
"use strict";
(() => {
  const LOG_BYTES = 65536;
  const logs = new WeakMap();

  function span(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const h = Math.floor(whole / 3600), m = Math.floor((whole % 3600) / 60), s = whole % 60;
    if (h) return `${h} h ${String(m).padStart(2, "0")} min`;
    return m ? `${m} min ${String(s).padStart(2, "0")} s` : `${s} s`;
  }

  function tick() {
    for (const part of document.querySelectorAll("[data-since]")) {
      part.textContent = span((Date.now() - Date.parse(part.dataset.since)) / 1000);
    }
    for (const part of document.querySelectorAll("[data-until]")) {
      part.textContent = `${span((Date.parse(part.dataset.until) - Date.now()) / 1000)} left`;
    }
  }

  // A log is read on from where the last answer ended, which the server tells.
  async function read(details) {
    const box = details.querySelector("pre");
    const state = logs.get(box) || { at: null, busy: false, decoder: new TextDecoder() };
    logs.set(box, state);
    if (state.busy) return;
    state.busy = true;
    try {
      const answer = await fetch(`${details.dataset.log}&from=${state.at ?? -LOG_BYTES}`);
      if (answer.ok) {
        const next = Number(answer.headers.get("X-Oroboros-Next"));
        const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
        const bytes = await answer.arrayBuffer();
        if (state.at === null && next > bytes.byteLength) box.append("…\n");
        box.append(state.decoder.decode(bytes, { stream: true }));
        state.at = next;
        if (atEnd) box.scrollTop = box.scrollHeight;
      } else {
        box.textContent = `The log is not there (${answer.status}).`;
        delete details.dataset.running;
      }
    } finally {
      state.busy = false;
    }
  }

  function follow() {
    for (const details of document.querySelectorAll("details[data-log]")) {
      const box = details.querySelector("pre");
      if (details.open && ("running" in details.dataset || !logs.has(box))) read(details);
    }
  }

  // What the server sent last, by part: a part is replaced only when that has changed.
  const sent = new Map();
  const parts = (root) => new Map([...root.querySelectorAll("[data-part]")].map((p) => [p.dataset.part, p]));

  // The end of a log that comes with the page is what is read.
  function tail(root) {
    for (const box of root.querySelectorAll("pre[data-tail]")) box.scrollTop = box.scrollHeight;
  }

  function replace(now, fresh) {
    const wasOpen = now.querySelector("details[data-log]")?.open;
    const copy = document.importNode(fresh, true);
    const details = copy.querySelector("details[data-log]");
    if (details && wasOpen) details.open = true;
    now.replaceWith(copy);
    tail(copy);
  }

  async function refresh(page) {
    const url = new URL(location.href);
    url.searchParams.set("live", "1");
    const answer = await fetch(url, { headers: { Accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const root = fresh.querySelector("[data-live]");
    // What a poll leaves out, such as the difference, is of the commit that the page was made for.
    if (root?.dataset.commit !== page.dataset.commit) return location.reload();
    const here = parts(document);
    for (const [name, part] of parts(fresh)) {
      if (here.has(name) && sent.get(name) !== part.outerHTML) {
        if (sent.has(name) || here.get(name).outerHTML !== part.outerHTML) replace(here.get(name), part);
        sent.set(name, part.outerHTML);
      }
    }
    page.dataset.live = root?.dataset.live || "";
    tick();
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const [name, part] of parts(document)) sent.set(name, part.outerHTML);
    tick();
    tail(document);
    follow();
    setInterval(tick, 1000);
    setInterval(follow, 1000);
    document.addEventListener("toggle", follow, true);
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
