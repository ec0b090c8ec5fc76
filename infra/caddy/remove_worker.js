/* Replaces the service worker of an earlier run: it removes itself and the caches, and reloads the pages that
   the earlier one controlled. */
"use strict";
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(removeWorker()));

async function removeWorker() {
  for (const name of await caches.keys()) await caches.delete(name);
  await self.registration.unregister();
  // Not awaited: a page that loads meanwhile waits for this worker to be activated.
  for (const page of await self.clients.matchAll({ type: "window" })) page.navigate(page.url).catch(() => {});
}
