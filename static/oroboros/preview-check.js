/* Checks in this browser whether the link of a preview is answered by the run and commit of this page. */
"use strict";
(() => {
  const REPEAT_MS = 10000, TIMEOUT_MS = 5000;
  const checkedAt = new WeakMap();

  // Returns a note's class and text for an answer of /.well-known/oroboros; null: it could not be read.
  function judgeAnswer(answer, run, commit, host) {
    const warning = "Do not approve what it shows.";
    if (!answer) return ["danger", `This browser cannot check the preview: ${host} does not answer as a preview. ${warning}`];
    if (answer.run === null) return ["danger", `The link does not show this run. ${answer.detail} ${warning}`];
    if (answer.run !== run) return ["danger", `The link shows another run, ${answer.run}. ${warning}`];
    if (answer.commit !== commit) return ["danger", `The link shows commit ${answer.commit.slice(0, 12)} of this run, not ${commit.slice(0, 12)}. ${warning}`];
    if (answer.state !== "live") return ["warning", "The preview of this run is not ready yet."];
    return ["info", `Checked in this browser: the link shows this run at ${commit.slice(0, 12)}.`];
  }

  async function readAnswer(url) {
    try {
      const options = { cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS) };
      const answer = await (await fetch(url, options)).json();
      return typeof answer?.run === "string" || answer?.run === null ? answer : null;
    } catch {
      return null; // it does not answer, or not with JSON that this page may read
    }
  }

  async function checkPreview(note) {
    checkedAt.set(note, Date.now());
    const { previewCheck: url, run, commit } = note.dataset;
    const [kind, text] = judgeAnswer(await readAnswer(url), run, commit, new URL(url).host);
    note.className = `oro-note ${kind}`;
    note.setAttribute("role", kind === "info" ? "status" : "alert");
    if (note.textContent !== text) note.textContent = text;
  }

  function checkPreviews() {
    if (document.hidden) return;
    for (const note of document.querySelectorAll("[data-preview-check]")) {
      if (Date.now() - (checkedAt.get(note) ?? 0) >= REPEAT_MS) checkPreview(note);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    checkPreviews();
    setInterval(checkPreviews, 1000);
    document.addEventListener("visibilitychange", checkPreviews);
  });
})();
