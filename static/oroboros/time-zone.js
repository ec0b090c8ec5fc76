/* Names the browser's time zone to the server, which writes the times of the next page in it. */
"use strict";
(() => {
  const NAME = "oroboros_time_zone", SECONDS = 365 * 24 * 3600;
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const pair = `${NAME}=${timeZone}`;
  if (timeZone && !document.cookie.split("; ").includes(pair)) {
    document.cookie = `${pair}; path=/admin/; max-age=${SECONDS}; samesite=lax`;
  }
})();
