/* Keys on every page of the admin: ? lists them. None acts while something is typed, and none performs an action: a and r
   open the page on which the approval or the rejection is confirmed. */
"use strict";
(() => {
  const ROW_LINKS = "#result_list tbody th a, #result_list tbody td:first-of-type a, .oro-entry a";
  const ROWS = "tr, .oro-entry";
  const KEYS = [
    ["j", "Next row"],
    ["k", "Previous row"],
    ["Enter", "Open the row"],
    ["a", "Approve (asks first)"],
    ["r", "Reject (asks first)"],
    ["/", "Search this list"],
    ["Ctrl K", "Find runs, branches, commits, releases, slots"],
    ["?", "This help"],
  ];

  const isTyping = (target) => target.closest("input, textarea, select, [contenteditable], dialog");

  function moveRow(step) {
    const rows = new Map(); // one link for each row
    for (const link of document.querySelectorAll(ROW_LINKS)) {
      const row = link.closest(ROWS);
      if (link.getClientRects().length && !rows.has(row)) rows.set(row, link);
    }
    const links = [...rows.values()], row = document.activeElement?.closest(ROWS);
    const at = [...rows.keys()].indexOf(row);
    const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + step));
    links[next]?.focus();
    links[next]?.scrollIntoView({ block: "nearest" });
    return links.length > 0;
  }

  function follow(action) {
    const link = document.querySelector(`.oro-actions a[data-action="${action}"]`);
    if (link) location.assign(link.href);
    return Boolean(link);
  }

  function search() {
    const field = document.querySelector("#searchbar");
    field?.focus();
    return Boolean(field);
  }

  function showHelp() {
    const dialog = document.createElement("dialog");
    dialog.className = "oro oro-keys";
    dialog.setAttribute("aria-label", "Keyboard");
    const list = document.createElement("dl");
    for (const [key, meaning] of KEYS) {
      const term = document.createElement("dt"), kbd = document.createElement("kbd"), text = document.createElement("dd");
      kbd.textContent = key;
      term.append(kbd);
      text.textContent = meaning;
      list.append(term, text);
    }
    const title = document.createElement("h2"), form = document.createElement("form"), close = document.createElement("button");
    title.textContent = "Keyboard";
    form.method = "dialog";
    close.className = "oro-button";
    close.textContent = "Close";
    form.append(close);
    dialog.append(title, list, form);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    return true;
  }

  const ACTIONS = {
    j: () => moveRow(1),
    k: () => moveRow(-1),
    a: () => follow("approve"),
    r: () => follow("reject"),
    "/": search,
    "?": showHelp,
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (!Object.hasOwn(ACTIONS, event.key) || isTyping(event.target)) return;
    if (ACTIONS[event.key]()) event.preventDefault();
  });
})();
