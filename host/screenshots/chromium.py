"""Which Chromium takes pictures, and how it is started: it loads pages of unreviewed code."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "chromium"
# The folder of what it stores, below the one that it may write.
PROFILE = "profile"
INSTALL = "apt-get install chromium"
# In a user namespace of its own, as which the sandbox of Chromium's renderers begins.
NAMESPACE_TEST = ("unshare", "--user", "--pid", "--fork", "true")
# Nothing but the pages: no services of a vendor, no extensions, no stored passwords.
QUIET = (
    "--headless=new",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-features=HttpsUpgrades,MediaRouter,OptimizationHints,Translate",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-pings",
    "--password-store=basic",
    "--use-mock-keychain",
    # Shared memory in TMPDIR: a container's /dev/shm may be too small for one page.
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
)
# Requests over UDP, for which no rule of host names is asked.
TCP_ONLY = (
    "--disable-quic",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
)


def find_chromium() -> str | None:
    """Return the path of the host's Chromium; None if there is none."""
    return shutil.which(PROGRAM)


def build_resolver_rules(host: str, address: str) -> str:
    """Return Chromium's rules by which only `host` is found, at `address`: both with a port.

    An address in digits is mapped as a name is, so no other port of this machine is reached.
    Source: net/base/host_mapping_rules.h of Chromium.
    """
    return f"MAP {host} {address}, MAP * ~NOTFOUND"


def build_argv(
    program: str, folder: Path, host: str, address: str, *, has_sandbox: bool
) -> Sequence[str]:
    """Return the words that start Chromium with an empty profile below `folder`.

    It reads commands from descriptor 3 and answers on 4: `--remote-debugging-pipe`.
    """
    return [
        program,
        *QUIET,
        *TCP_ONLY,
        *([] if has_sandbox else ["--no-sandbox"]),
        "--no-proxy-server",
        f"--host-resolver-rules={build_resolver_rules(host, address)}",
        f"--user-data-dir={folder / PROFILE}",
        "--remote-debugging-pipe",
        "about:blank",
    ]


def build_environment(folder: Path) -> dict[str, str]:
    """Return the environment of Chromium: nothing of ours but PATH."""
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        # The folder by a short name: a socket's path in it has at most 108 bytes (unix(7)).
        "TMPDIR": "/proc/self/cwd",
        "XDG_CONFIG_HOME": str(folder),
        "XDG_CACHE_HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
