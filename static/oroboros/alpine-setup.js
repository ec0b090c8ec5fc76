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

  // What the body's x-data and x-init do in unfold; `tab` is the first tab of the page.
  function page(tab) {
    return {
      activeTab: getCurrentTab() || tab,
      sidebarMobileOpen: false,
      sidebarDesktopOpen: localStorage.getItem("sidebarDesktopOpen") !== "0",
      init() {
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

  document.addEventListener("alpine:init", () => {
    for (const component of [theme, searchForm, searchDropdown, searchCommand, page]) {
      Alpine.data(component.name, component);
    }
    Alpine.interceptInit(makeReadable);
  });
})();
