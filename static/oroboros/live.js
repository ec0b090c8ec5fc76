/* Live pages: parts of the page are reloaded while something runs. A page that cannot be reloaded says so, and its counters
   stop. */
"use strict";
(() => {
  const TIMEOUT_MS = 10000;
  let clockOffset = 0; // the server's clock minus this one's, in milliseconds
  let etag = null, updatedAt = new Date(), timer = null, isStale = false;

  function formatDuration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const h = Math.floor(whole / 3600), m = Math.floor((whole % 3600) / 60), s = whole % 60;
    if (h) return `${h} h ${String(m).padStart(2, "0")} min`;
    return m ? `${m} min ${String(s).padStart(2, "0")} s` : `${s} s`;
  }

  // How long ago it was, within a week; null for what is longer ago, or still to come.
  function describeAge(seconds) {
    if (!(seconds > -60 && seconds < 7 * 86400)) return null;
    if (seconds < 60) return "just now";
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    const days = Math.floor(seconds / 86400);
    return `${days} day${days === 1 ? "" : "s"} ago`;
  }

  function updateAges(now) {
    for (const part of document.querySelectorAll("time[data-ago]")) {
      const age = describeAge((now - Date.parse(part.dateTime)) / 1000);
      if (age && part.textContent !== age) part.textContent = age;
    }
  }

  function updateDurations() {
    if (isStale) return;
    const now = Date.now() + clockOffset;
    updateAges(now);
    for (const part of document.querySelectorAll("[data-since]")) {
      part.textContent = formatDuration((now - Date.parse(part.dataset.since)) / 1000);
    }
    for (const part of document.querySelectorAll("[data-until]")) {
      const left = Date.parse(part.dataset.until) - now;
      part.textContent = left > 0 ? `${formatDuration(left / 1000)} left` : "expired";
    }
  }

  const isAtEnd = (box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 8;

  // The last HTML of each part as the server sent it. Only what changed is changed in the page: nodes stay, and with
  // them the keyboard's focus, selections, open details and the scroll position.
  const lastHtml = new Map();
  const findParts = (root) => new Map([...root.querySelectorAll("[data-part]")].map((p) => [p.dataset.part, p]));

  // What names a node among its siblings: a line of a list is named by what it links to.
  function nameOf(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
    const link = node.matches("a[href]") ? node : node.querySelector("a[href]:not(noscript a)");
    const name = node.dataset.part || node.dataset.log || node.id || link?.getAttribute("href") || "";
    return `${node.nodeName} ${name}`;
  }

  // Where scripts run, `noscript` holds text; in a document that DOMParser made, it holds elements.
  const isOfScripts = (node) => node.matches?.("details[data-log] pre, [data-log-tools], [data-preview-check], noscript");
  const isSameTime = (node, fresh) => node.matches("time[data-ago]") && node.dateTime === fresh.dateTime;

  function updateAttributes(node, fresh) {
    for (const { name } of [...node.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") node.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (name !== "open" && node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
  }

  function updateNode(node, fresh) {
    if (node.isEqualNode(fresh)) return;
    if (node.nodeType !== Node.ELEMENT_NODE) {
      node.nodeValue = fresh.nodeValue;
      return;
    }
    if (isSameTime(node, fresh)) return; // its text is of this script
    if (isOfScripts(node) && JSON.stringify(node.dataset) === JSON.stringify(fresh.dataset)) return;
    const wasAtEnd = node.matches("pre[data-tail]") && isAtEnd(node);
    updateAttributes(node, fresh);
    updateChildren(node, fresh);
    if (wasAtEnd) node.scrollTop = node.scrollHeight;
  }

  function updateChildren(node, fresh) {
    const old = [...node.childNodes];
    const pairs = [...fresh.childNodes].map((child) => {
      const index = old.findIndex((one) => nameOf(one) === nameOf(child));
      return [child, index < 0 ? null : old.splice(index, 1)[0]];
    });
    // Before the rest is put in order: a node that has to be moved would lose the focus.
    old.forEach((one) => one.remove());
    let at = node.firstChild;
    for (const [child, kept] of pairs) {
      if (kept) updateNode(kept, child);
      if (kept && kept === at) at = at.nextSibling;
      else node.insertBefore(kept ?? document.importNode(child, true), at);
    }
  }

  function showFresh(page, text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const root = fresh.querySelector("[data-live]");
    // The difference is not reloaded. A new commit therefore needs the whole page.
    if (root?.dataset.commit !== page.dataset.commit) return location.reload();
    const current = findParts(document);
    for (const [name, part] of findParts(fresh)) {
      if (current.has(name) && lastHtml.get(name) !== part.outerHTML) updateNode(current.get(name), part);
      lastHtml.set(name, part.outerHTML);
    }
    page.dataset.live = root?.dataset.live || "";
    showTab();
  }

  // The tab's title and icon tell the state of the run, so that it is seen among other tabs.
  function showTab() {
    const status = document.querySelector("[data-tab-title]"), icon = document.querySelector("link[rel=icon]");
    if (!status) return;
    document.title = status.dataset.tabTitle;
    if (icon && icon.href !== new URL(status.dataset.tabIcon, location.href).href) icon.href = status.dataset.tabIcon;
  }

  // Returns "" if the page is up to date, else why it is not; "login" if the session has ended.
  async function refresh(page) {
    const url = new URL(location.href);
    url.searchParams.set("live", "1");
    const headers = { Accept: "text/html", ...(etag && { "If-None-Match": etag }) };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(url, { headers, redirect: "manual", signal }).catch(() => null);
    if (!response) return navigator.onLine ? "the server does not answer" : "this device is offline";
    if (response.type === "opaqueredirect") return "login";
    if (response.status !== 304 && !response.ok) return `the server answered with status ${response.status}`;
    const date = Date.parse(response.headers.get("Date"));
    if (date) clockOffset = date - Date.now();
    const text = await response.text(); // also of 304: an answer that is not read counts as a failed request
    if (response.status !== 304) showFresh(page, text);
    etag = response.headers.get("ETag") || etag;
    return "";
  }

  function buildStaleNote(page, cause) {
    const note = Object.assign(document.createElement("div"), { className: "oro-stale" });
    note.setAttribute("role", "alert");
    const time = updatedAt.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const why = cause === "login" ? "your session has ended" : cause;
    note.append(Object.assign(document.createElement("span"), { textContent: `Not updating since ${time}: ${why}.` }));
    if (cause === "login") {
      const href = `/admin/login/?next=${encodeURIComponent(location.pathname + location.search)}`;
      note.append(Object.assign(document.createElement("a"), { className: "oro-button solid", textContent: "Log in", href }));
    } else {
      const retry = Object.assign(document.createElement("button"), { className: "oro-button solid", type: "button", textContent: "Retry" });
      retry.addEventListener("click", () => update(page));
      note.append(retry);
    }
    note.dataset.cause = cause;
    return note;
  }

  function showState(page, cause) {
    const shown = page.querySelector(".oro-stale");
    isStale = cause !== "";
    if (shown?.dataset.cause === cause) return;
    shown?.remove();
    if (isStale) page.append(buildStaleNote(page, cause));
  }

  async function update(page) {
    clearTimeout(timer);
    timer = null;
    const cause = document.hidden ? "" : await refresh(page).catch((error) => error.message);
    if (!cause && !document.hidden) updatedAt = new Date();
    showState(page, cause);
    updateDurations();
    const seconds = Number(page.dataset.live);
    clearTimeout(timer);
    timer = seconds && !document.hidden ? setTimeout(() => update(page), seconds * 1000) : null;
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const [name, part] of findParts(document)) lastHtml.set(name, part.outerHTML);
    updateDurations();
    showTab();
    for (const box of document.querySelectorAll("pre[data-tail]")) box.scrollTop = box.scrollHeight;
    setInterval(updateDurations, 1000);
    const page = document.querySelector("[data-live]");
    if (!page || !page.dataset.live) return;
    timer = setTimeout(() => update(page), Number(page.dataset.live) * 1000);
    window.addEventListener("offline", () => update(page));
    window.addEventListener("online", () => update(page));
    document.addEventListener("visibilitychange", () => document.hidden || timer || update(page));
  });
})();
