/* Tools of each log: copy, and a search that marks what it finds and goes from one to the next with Enter. */
"use strict";
(() => {
  const canMark = "highlights" in CSS;
  const positions = new WeakMap(); // of each log's tools: which place is shown
  const LIMIT = 2000; // of marked places: more would make a long log slow

  function findRanges(box, text) {
    const ranges = [], wanted = text.toLowerCase();
    for (const node of wanted ? box.childNodes : []) {
      if (node.nodeType !== Node.TEXT_NODE) continue;
      const content = node.data.toLowerCase();
      for (let at = content.indexOf(wanted); at >= 0 && ranges.length < LIMIT; at = content.indexOf(wanted, at + wanted.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + wanted.length);
        ranges.push(range);
      }
    }
    return ranges;
  }

  function show(box, range) {
    const top = range.getBoundingClientRect().top - box.getBoundingClientRect().top;
    box.scrollTop += top - box.clientHeight / 2;
    if (canMark) CSS.highlights.set("oro-found-now", new Highlight(range));
  }

  function search(tools, box, step) {
    const field = tools.querySelector("[data-log-search]"), count = tools.querySelector("[data-log-count]");
    const ranges = findRanges(box, field.value);
    const at = ranges.length ? ((positions.get(tools) ?? -1) + step + ranges.length) % ranges.length : -1;
    positions.set(tools, at);
    if (canMark) CSS.highlights.set("oro-found", new Highlight(...ranges));
    if (canMark) CSS.highlights.delete("oro-found-now");
    if (at >= 0) show(box, ranges[at]);
    const more = ranges.length === LIMIT ? "+" : "";
    count.textContent = !field.value ? "" : at < 0 ? "not found" : `${at + 1} of ${ranges.length}${more}`;
  }

  const findTools = (target) => {
    const tools = target.closest("[data-log-tools]");
    return tools && [tools, tools.parentElement.querySelector("pre")];
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-log-copy]");
    if (!button) return;
    const [, box] = findTools(button);
    let text = "Copied";
    try {
      await navigator.clipboard.writeText(box.textContent);
    } catch {
      getSelection().selectAllChildren(box); // no clipboard over plain HTTP: the person copies what is selected
      text = "Selected";
    }
    button.textContent = text;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-log-search]")) return;
    const [tools, box] = findTools(event.target);
    positions.set(tools, -1);
    search(tools, box, 1);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("[data-log-search]")) return;
    event.preventDefault();
    search(...findTools(event.target), event.shiftKey ? -1 : 1);
  });
})();
