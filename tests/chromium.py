"""Debian's Chromium, as the tests start it."""

from playwright.sync_api import Browser, Playwright

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch_chromium(playwright: Playwright) -> Browser:
    """Start a browser without a window. The caller closes it."""
    return playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
