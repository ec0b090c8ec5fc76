/* Logs: read by pages of lines, followed while they grow, with colours, numbers, links to lines, a search and a copy.
   Of what a program wrote for a terminal only colours have an effect (ECMA-48, SGR): the rest is shown as a mark. */
"use strict";
(() => {
  const PAGE = 1000, KEPT = 5000, BEFORE = 20; // lines: of a page, in the browser at most, above one that is linked
  const TYPING_MS = 300; // after the last key, until it is searched
  const MAX_PAUSE = 5; // seconds between two requests for a log to which nothing is added
  const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
  const STYLES = { 1: ["bold", true], 3: ["italic", true], 4: ["underline", true], 22: ["bold", false], 23: ["italic", false], 24: ["underline", false] };
  // As host/visible_text.py: what a page would not show, or would show as a blank.
  const HIDDEN = /(?![\t \u3000])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Zs}\p{Cs}\p{Cn}\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]/u;
  const states = new WeakMap(); // of each log's details
  const getState = (details) => {
    if (!states.has(details)) states.set(details, { next: null, size: 0, file: "", busy: false, pause: 0, waited: 0, found: [], at: -1 });
    return states.get(details);
  };
  const getBox = (details) => details.querySelector("pre");
  const isAtEnd = (box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 8;

  // ---- a line: text in colours

  // The nearest of the eight colours, which are readable in light and dark: text must not have its background's.
  function nearestColour(red, green, blue) {
    const high = Math.max(red, green, blue) / 2;
    return COLOURS[(red > high) + 2 * (green > high) + 4 * (blue > high)];
  }

  function colourOf256(number) {
    if (number < 16) return COLOURS[number % 8];
    if (number > 231) return "white";
    const cube = number - 16;
    return nearestColour(Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6);
  }

  // Backgrounds, inverse and concealed text have no effect.
  function changeStyle(style, parameters) {
    const codes = parameters.replaceAll(":", ";").split(";").map(Number);
    for (let at = 0; at < codes.length; at++) {
      const code = codes[at];
      if (code === 0) for (const name of Object.keys(style)) delete style[name];
      else if (STYLES[code]) style[STYLES[code][0]] = STYLES[code][1];
      else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) style.colour = COLOURS[code % 10];
      else if (code === 39) delete style.colour;
      else if (code === 38 || code === 48) {
        const colour = codes[at + 1] === 5 ? colourOf256(codes[at + 2]) : nearestColour(...codes.slice(at + 2, at + 5));
        if (code === 38) style.colour = colour;
        at += codes[at + 1] === 5 ? 2 : 4;
      }
    }
  }

  function appendVisible(parent, text) {
    if (!HIDDEN.test(text)) return parent.append(text);
    let plain = "";
    const flush = () => { if (plain) parent.append(plain); plain = ""; };
    for (const character of text) {
      if (!HIDDEN.test(character)) {
        plain += character;
        continue;
      }
      flush();
      const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      parent.append(Object.assign(document.createElement("mark"), { textContent: character === "\r" ? "<CR>" : `<U+${code}>` }));
    }
    flush();
  }

  function appendStyled(parent, text, style) {
    const names = [style.bold && "bold", style.italic && "italic", style.underline && "underline", style.colour];
    const classes = names.filter(Boolean).map((name) => `oro-log-${name}`);
    if (!classes.length) return appendVisible(parent, text);
    const span = Object.assign(document.createElement("span"), { className: classes.join(" ") });
    appendVisible(span, text);
    parent.append(span);
  }

  // `style` is what the lines above left, and is changed to what this one leaves.
  function fillLine(element, raw, style) {
    let at = 0;
    const text = raw.replace(/\r$/, "");
    for (const match of text.matchAll(/\x1b\[([0-9;:]*)m/g)) {
      if (match.index > at) appendStyled(element, text.slice(at, match.index), style);
      changeStyle(style, match[1]);
      at = match.index + match[0].length;
    }
    if (at < text.length) appendStyled(element, text.slice(at), style);
  }

  function buildLine(details, number, raw, style) {
    const line = Object.assign(document.createElement("span"), { className: "oro-line", id: `${details.id}-L${number}` });
    const link = Object.assign(document.createElement("a"), { className: "oro-line-number", href: `#${line.id}`, tabIndex: -1 });
    link.dataset.number = number;
    link.setAttribute("aria-hidden", "true");
    const text = document.createElement("span");
    fillLine(text, raw, style);
    line.append(link, text, "\n");
    return line;
  }

  // ---- the lines that are shown

  function clear(details) {
    getBox(details).replaceChildren();
    Object.assign(getState(details), { next: null, last: 0, rest: "", style: {}, decoder: new TextDecoder() });
  }

  // The last line may be cut: what follows is added to it.
  function appendText(details, text) {
    const box = getBox(details), state = getState(details), lines = (state.rest + text).split("\n");
    if (state.rest) {
      box.lastElementChild.remove();
      state.last--;
    }
    state.rest = lines.pop();
    const fresh = new DocumentFragment();
    for (const line of lines) fresh.append(buildLine(details, ++state.last, line, state.style));
    if (state.rest) fresh.append(buildLine(details, ++state.last, state.rest, { ...state.style }));
    const wasAtEnd = isAtEnd(box);
    box.append(fresh);
    // A page that follows a log for hours keeps the end of it.
    while (wasAtEnd && box.childElementCount > KEPT) box.firstElementChild.remove();
  }

  const firstNumber = (box) => Number(box.firstElementChild?.firstElementChild.dataset.number ?? 1);

  function showTools(details) {
    const state = getState(details), box = getBox(details);
    details.querySelector("[data-log-earlier]").hidden = firstNumber(box) <= 1;
    details.querySelector("[data-log-later]").hidden = state.next === null || state.next >= state.size;
  }

  async function request(details, query) {
    const url = new URL(details.dataset.log, location.href);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const response = await fetch(url, { signal: AbortSignal.timeout(20000) });
    if (response.ok) return response;
    getBox(details).textContent = `The log could not be loaded (status ${response.status}).`;
    delete details.dataset.running;
    throw new Error(`status ${response.status}`);
  }

  // One request at a time for each log; a server that is away is asked again later.
  async function exclusively(details, work) {
    const state = getState(details);
    if (state.busy) return;
    state.busy = true;
    try {
      await work(state, getBox(details));
      showTools(details);
    } catch {
      state.pause = MAX_PAUSE;
    } finally {
      state.busy = false;
    }
  }

  function note(state, response) {
    state.next = Number(response.headers.get("X-Oroboros-Next"));
    state.size = Number(response.headers.get("X-Oroboros-Size"));
    state.file = response.headers.get("X-Oroboros-File");
  }

  async function readPage(details, state, line) {
    const response = await request(details, { line, lines: PAGE });
    const bytes = await response.arrayBuffer();
    clear(details);
    note(state, response);
    state.last = Number(response.headers.get("X-Oroboros-Line")) - 1;
    appendText(details, state.decoder.decode(bytes, { stream: true }));
    return bytes.byteLength > 0;
  }

  async function readEnd(details, state, box) {
    await readPage(details, state, -PAGE);
    box.scrollTop = box.scrollHeight;
  }

  async function readNext(details, state, box) {
    const wasAtEnd = isAtEnd(box);
    const response = await request(details, { from: state.next, lines: PAGE });
    const bytes = await response.arrayBuffer();
    // Another file, or one that was trimmed: what is shown is not its beginning.
    const isOther = response.headers.get("X-Oroboros-File") !== state.file;
    if (isOther || Number(response.headers.get("X-Oroboros-Size")) < state.next) return readEnd(details, state, box);
    note(state, response);
    appendText(details, state.decoder.decode(bytes, { stream: true }));
    state.pause = bytes.byteLength ? 0 : Math.min(MAX_PAUSE, state.pause + 1);
    if (wasAtEnd) box.scrollTop = box.scrollHeight;
  }

  async function readEarlier(details, state, box) {
    const first = firstNumber(box), start = Math.max(1, first - PAGE), height = box.scrollHeight;
    const response = await request(details, { line: start, lines: first - start });
    const lines = new TextDecoder().decode(await response.arrayBuffer()).split("\n");
    const fresh = new DocumentFragment(), style = {};
    lines.slice(0, first - start).forEach((line, index) => fresh.append(buildLine(details, start + index, line, style)));
    box.prepend(fresh);
    box.scrollTop += box.scrollHeight - height;
  }

  // ---- links to lines

  function mark(line, box) {
    document.querySelector(".oro-line.linked")?.classList.remove("linked");
    line.classList.add("linked");
    box.scrollTop += line.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
    box.scrollIntoView({ block: "nearest" });
  }

  async function showLine(details, number) {
    details.open = true;
    const find = () => document.getElementById(`${details.id}-L${number}`);
    const isNear = find();
    if (!isNear) {
      await exclusively(details, async (state, box) => {
        const hasLine = await readPage(details, state, Math.max(1, number - BEFORE));
        if (!hasLine) await readEnd(details, state, box);
      });
    }
    const line = find();
    if (line) mark(line, getBox(details));
  }

  function followHash() {
    const match = /^#(.+?)(?:-L([1-9]\d{0,8}))?$/.exec(location.hash); // the id of a log has no escapes
    const details = match && document.getElementById(match[1]);
    if (!details?.matches("details[data-log]")) return;
    if (match[2]) showLine(details, Number(match[2]));
    else details.open = true;
    if (!match[2]) details.scrollIntoView({ block: "nearest" });
  }

  // ---- tools

  const findDetails = (target) => target.closest("details[data-log]");

  async function search(details, step) {
    const field = details.querySelector("[data-log-search]"), count = details.querySelector("[data-log-count]");
    const state = getState(details), text = field.value;
    if (!text) {
      Object.assign(state, { searched: "", found: [], at: -1 });
      count.textContent = "";
      return;
    }
    // The server searches all of the log, of which a part may be shown here.
    if (state.searched !== text) {
      const answer = await request(details, { grep: text }).then((one) => one.text(), () => "");
      const found = [...answer.matchAll(/^(\d+):/gm)].map((match) => Number(match[1]));
      Object.assign(state, { searched: text, found, at: step > 0 ? -1 : 0 });
    }
    const total = state.found.length;
    state.at = total ? (state.at + step + total) % total : -1;
    count.textContent = total ? `${state.at + 1} of ${total}${total === 2000 ? "+" : ""} lines` : "not found";
    if (total) await showLine(details, state.found[state.at]);
  }

  async function copy(details, button) {
    const box = getBox(details);
    let text = "Copied";
    try {
      await navigator.clipboard.writeText(box.textContent);
    } catch {
      getSelection().selectAllChildren(box); // no clipboard over plain HTTP: the person copies what is selected
      text = "Selected";
    }
    button.textContent = text;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  document.addEventListener("click", (event) => {
    const details = findDetails(event.target), is = (name) => event.target.closest(`[data-log-${name}]`);
    if (!details) return;
    if (is("copy")) copy(details, is("copy"));
    if (is("earlier")) exclusively(details, (state, box) => readEarlier(details, state, box));
    if (is("later")) exclusively(details, (state, box) => readNext(details, state, box));
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("[data-log-search]")) return;
    event.preventDefault();
    clearTimeout(getState(findDetails(event.target)).typed);
    search(findDetails(event.target), event.shiftKey ? -1 : 1);
  });
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-log-search]")) return;
    const details = findDetails(event.target), state = getState(details);
    clearTimeout(state.typed);
    state.typed = setTimeout(() => search(details, 1), TYPING_MS);
  });

  function follow(details) {
    const state = getState(details), runs = "running" in details.dataset;
    if (state.next === null) return exclusively(details, (one, box) => (one.next === null ? readEnd(details, one, box) : null));
    // Once more after its end: the last lines were written since the last request.
    const grows = runs || state.ran;
    state.ran = runs;
    if (!grows || state.next < state.size || (runs && state.waited++ < state.pause)) return;
    state.waited = 0;
    exclusively(details, (one, box) => readNext(details, one, box));
  }

  function followLogs() {
    if (document.hidden || document.querySelector(".oro-stale")) return;
    for (const details of document.querySelectorAll("details[data-log][open]")) follow(details);
  }

  document.addEventListener("DOMContentLoaded", () => {
    followHash();
    followLogs();
    setInterval(followLogs, 1000);
    document.addEventListener("toggle", followLogs, true);
    window.addEventListener("hashchange", followHash);
  });
})();
