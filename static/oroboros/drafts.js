/* What was typed in a form is kept in this tab until the form was accepted: a session that ends meanwhile loses nothing.
   Neither passwords, other secrets nor hidden fields are kept, and only the user who typed it gets it back. */
"use strict";
(() => {
  const PREFIX = "oroboros-draft:";
  const NOT_KEPT = ["hidden", "password", "file", "submit", "button"];

  const listFields = (form) => [...form.elements].filter((field) => field.name && !NOT_KEPT.includes(field.type) && !("secret" in field.dataset));
  const isChoice = (field) => field.type === "checkbox" || field.type === "radio";
  const nameOf = (field) => (isChoice(field) ? `${field.name}=${field.value}` : field.name);
  const read = (field) => (isChoice(field) ? field.checked : field.value);
  const isChanged = (field) =>
    isChoice(field) ? field.checked !== field.defaultChecked : field.type !== "select-one" && field.value !== field.defaultValue;

  function readDraft(key) {
    try {
      return JSON.parse(sessionStorage.getItem(key)) || {};
    } catch {
      return {}; // no storage
    }
  }

  function saveDraft(key, form, isSent) {
    const values = Object.fromEntries(listFields(form).map((field) => [nameOf(field), read(field)]));
    try {
      sessionStorage.setItem(key, JSON.stringify({ values, isSent }));
    } catch {
      // Without storage a form is filled in again by hand.
    }
  }

  function fill(field, value) {
    if (isChoice(field)) field.checked = value;
    else field.value = value;
  }

  // Fields that the server filled in, as after an error, are left as they are.
  function restoreDraft(form, values) {
    const fields = listFields(form);
    const isFilled = form.querySelector(".has-error, .errorlist") || fields.some(isChanged);
    const kept = fields.filter((field) => nameOf(field) in values && values[nameOf(field)] !== read(field));
    if (isFilled || !kept.length) return;
    for (const field of kept) fill(field, values[nameOf(field)]);
    const note = Object.assign(document.createElement("p"), { className: "oro-hint", textContent: "Filled in again: what you typed here before." });
    note.setAttribute("role", "status");
    form.prepend(note);
  }

  // A form that was sent, and is not shown again, was accepted.
  function forgetAccepted(prefix, current) {
    for (const key of Object.keys(sessionStorage)) {
      if (key.startsWith(prefix) && key !== current && readDraft(key).isSent) sessionStorage.removeItem(key);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const main = document.querySelector("main[data-user]"), user = main?.dataset.user;
    if (!user) return; // the login
    const prefix = `${PREFIX}${user}:`, key = `${prefix}${location.pathname}`;
    forgetAccepted(prefix, key);
    const form = main.querySelector("form[method=post]:not(#changelist-form):not(.button-form)");
    if (!form) return;
    restoreDraft(form, readDraft(key).values || {});
    sessionStorage.removeItem(key); // it is in the form now
    form.addEventListener("input", () => saveDraft(key, form, false));
    form.addEventListener("submit", () => saveDraft(key, form, true));
  });
})();
