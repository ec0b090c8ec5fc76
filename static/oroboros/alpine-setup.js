/* unfold's templates for the build of Alpine.js that evaluates no text: components by name, and readable forms of the
   expressions that its parser does not know. Without this file the pages need 'unsafe-eval'. */
"use strict";
(() => {
  const READABLE = {
    "sidebarDesktopOpen = !sidebarDesktopOpen; localStorage.setItem('sidebarDesktopOpen', sidebarDesktopOpen ? '1' : '0');":
      "sidebarDesktopOpen = !sidebarDesktopOpen",
    "if (!$event.metaKey && !$event.ctrlKey) selectItem(true, false)":
      "!$event.metaKey && !$event.ctrlKey && selectItem(true, false)",
    "if (!$event.metaKey && !$event.ctrlKey) selectItem(false, false)":
      "!$event.metaKey && !$event.ctrlKey && selectItem(false, false)",
    "activeTab && activeTab !== 'general' ? window.location.pathname + window.location.search + '#' + activeTab : window.location.pathname + window.location.search":
      "getFormAddress()",
  };

  // The panels of a run's page, of which all but one are hidden; null elsewhere. It is the one that the address names, or
  // that has what the address names: an element, or a line of a log.
  function showPanel() {
    const panels = [...document.querySelectorAll("[data-panel]")];
    if (!panels.length) return null;
    const target = findTarget(), shown = panels.find((one) => !one.hidden);
    const panel = target?.closest("[data-panel]") ?? (location.hash ? shown : panels[0]);
    const hasMoved = panel.hidden, isScrolled = scrollY > document.querySelector(".oro-sticky").parentElement.offsetTop;
    for (const one of panels) one.hidden = one !== panel;
    for (const link of document.querySelectorAll("#tabs-wrapper a")) {
      if (link.hash === `#${panel.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    showTab();
    if (hasMoved && target && target !== panel) target.scrollIntoView();
    else if (hasMoved && isScrolled) panel.scrollIntoView();
    return panel.id;
  }

  // Narrow, the row of tabs is scrolled to the one that is shown.
  function showTab() {
    const link = document.querySelector("#tabs-wrapper a[aria-current]"), row = link?.parentElement;
    if (!link) return;
    const { left, width } = link.getBoundingClientRect();
    row.scrollLeft += left - row.getBoundingClientRect().left - (row.clientWidth - width) / 2;
  }

  function findTarget() {
    try {
      return document.getElementById(decodeURIComponent(location.hash.slice(1)).replace(/-L[1-9]\d*$/, ""));
    } catch {
      return null; // no name, but a broken escape
    }
  }

  // What the body's x-data and x-init do in unfold; `tab` is the first tab of the page.
  function page(tab) {
    return {
      activeTab: showPanel() || getCurrentTab() || tab,
      sidebarMobileOpen: false,
      sidebarDesktopOpen: localStorage.getItem("sidebarDesktopOpen") !== "0",
      init() {
        addEventListener("hashchange", () => {
          this.activeTab = showPanel() || this.activeTab;
        });
        this.$watch("sidebarDesktopOpen", (isOpen) => localStorage.setItem("sidebarDesktopOpen", isOpen ? "1" : "0"));
      },
      getFormAddress() {
        const hash = this.activeTab && this.activeTab !== "general" ? `#${this.activeTab}` : "";
        return location.pathname + location.search + hash;
      },
    };
  }

  function makeReadable(element) {
    for (const attribute of element.attributes) {
      const readable = READABLE[attribute.value.trim().replace(/\s+/g, " ")];
      if (readable) attribute.value = readable;
    }
    if (element === document.body && element.hasAttribute("x-init")) {
      const [, tab] = element.getAttribute("x-data").match(/activeTab: '([\w-]*)'/) ?? [null, ""];
      element.setAttribute("x-data", `page('${tab}')`);
      element.removeAttribute("x-init");
    }
  }

  // Without the browser's own step to the panel, which takes the focus from the tab.
  document.addEventListener("click", (event) => {
    const tab = event.target.closest("#tabs-wrapper a[href^='#']");
    if (!tab || event.ctrlKey || event.metaKey || event.shiftKey || !document.querySelector("[data-panel]")) return;
    event.preventDefault();
    if (location.hash !== tab.hash) history.pushState(null, "", tab.hash);
    showPanel();
  });

  document.addEventListener("DOMContentLoaded", showTab); // before, the page has no boxes
  document.addEventListener("alpine:init", () => {
    for (const component of [theme, searchForm, searchDropdown, searchCommand, page]) {
      Alpine.data(component.name, component);
    }
    Alpine.interceptInit(makeReadable);
  });
})();
