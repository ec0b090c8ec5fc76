/* The changed files of a run: lines that were left out are loaded when a file is opened, and the approval's page
   says which files this browser has not opened. */
"use strict";
(() => {
  const KEY = "oroboros-opened-files", COMMITS = 20;

  // The opened files by commit, {commit: [path]}; the newest commit is the last one.
  function readOpened() {
    try {
      return new Map(Object.entries(JSON.parse(localStorage.getItem(KEY)) || {}));
    } catch {
      return new Map(); // no storage, or text of another program
    }
  }

  function recordOpened(commit, path) {
    const opened = readOpened(), paths = opened.get(commit) || [];
    if (paths.includes(path)) return;
    opened.delete(commit);
    opened.set(commit, [...paths, path]);
    try {
      localStorage.setItem(KEY, JSON.stringify(Object.fromEntries([...opened].slice(-COMMITS))));
    } catch {
      // Without storage the approval's page counts the file as not opened.
    }
    markOpened(commit);
  }

  // ---- the tree of the files: what was opened, and the filter

  function markOpened(commit) {
    const opened = new Set(readOpened().get(commit) || []);
    for (const mark of document.querySelectorAll("[data-file-opened]")) {
      mark.hidden = !opened.has(mark.closest("[data-file]").dataset.file);
    }
  }

  // Hides what does not match, in the tree and among the changes; a folder without a match too.
  function filterFiles(tree, text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (path) => words.every((word) => path.toLowerCase().includes(word));
    const items = [...tree.querySelectorAll("[data-file]")];
    for (const item of items) item.hidden = !matches(item.dataset.file);
    for (const folder of tree.querySelectorAll("li:not([data-file])")) folder.hidden = !folder.querySelector("[data-file]:not([hidden])");
    for (const file of tree.parentElement.querySelectorAll("details[data-path]")) file.hidden = !matches(file.dataset.path);
    const shown = items.filter((item) => !item.hidden).length;
    tree.querySelector("[data-file-count]").textContent = words.length ? `${shown} of ${items.length} files` : "";
  }

  // Wide, the tree is beside the changes and open; narrow, it is above them and closed. A file that is chosen is opened.
  function setUpTree(tree) {
    const field = tree.querySelector("[data-file-filter]");
    tree.open = matchMedia("(min-width: 72rem)").matches;
    field.hidden = false;
    field.addEventListener("input", () => filterFiles(tree, field.value));
    tree.addEventListener("click", (event) => {
      const link = event.target.closest("a"), file = link && document.querySelector(link.hash);
      if (file) file.open = true;
    });
    markOpened(tree.closest("[data-changes]")?.dataset.changes);
  }

  const loads = new WeakMap(); // the running request of a file

  async function loadLines(file) {
    const url = new URL(file.dataset.load, location.href), note = file.querySelector("[data-omitted]");
    note.setAttribute("role", "status");
    try {
      const response = await fetch(url, { headers: { Accept: "text/html" }, redirect: "error" });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = [...page.querySelectorAll("details[data-path]")].find((one) => one.dataset.path === file.dataset.path);
      if (!response.ok || !fresh) throw new Error(`status ${response.status}`);
      const summary = file.querySelector("summary");
      file.replaceChildren(summary, ...[...fresh.children].slice(1).map((node) => document.importNode(node, true)));
      delete file.dataset.load;
    } catch (error) {
      showFailure(note, `The lines could not be loaded (${error.message}). `);
      return false;
    } finally {
      loads.delete(file); // after a failure it is asked again when the file is opened again
    }
    return true;
  }

  function showFailure(note, text) {
    let failure = note.querySelector("[data-failure]");
    if (!failure) {
      failure = document.createElement("span");
      failure.dataset.failure = "";
      note.prepend(failure);
    }
    failure.textContent = text;
  }

  // A file counts as opened once its lines are there and it was on the screen.
  async function openFile(file) {
    if (!file.open) return;
    if (file.dataset.load) {
      if (!loads.has(file)) loads.set(file, loadLines(file));
      if (!(await loads.get(file))) return;
    }
    const commit = file.closest("[data-changes]")?.dataset.changes; // other differences are not approved
    if (commit) recordOpened(commit, file.dataset.path);
  }

  function listUnopened(list) {
    const opened = new Set(readOpened().get(list.dataset.changedFiles) || []);
    const items = [...list.querySelectorAll("[data-path]")];
    const missing = items.filter((item) => !opened.has(item.dataset.path));
    for (const item of missing) item.querySelector("[data-unopened]").hidden = false;
    return [missing.length, items.length];
  }

  function countUnopened(note) {
    const [missing, all] = listUnopened(document.querySelector("[data-changed-files]"));
    note.className = `oro-note ${missing ? "warning" : "info"}`;
    note.textContent = missing
      ? `${missing} of ${all} changed file${all === 1 ? " was" : "s were"} not opened in this browser.`
      : `All ${all} changed files were opened in this browser.`;
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-file-tree]").forEach(setUpTree);
    const files = document.querySelectorAll("details[data-path]");
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) openFile(entry.target);
    });
    for (const file of files) {
      seen.observe(file);
      file.addEventListener("toggle", () => openFile(file));
    }
    document.querySelectorAll("[data-unopened-count]").forEach(countUnopened);
  });
})();
