"""The surfaces' env files, `infra/systemd/env/web-*.env`: which ports each surface uses.

systemd reads these files, and the runbook prints them with `cat`. In git they hold the ports
without an offset; where OROBOROS_PORT_OFFSET is set, `write` puts this checkout's ports into them.
git has those of three slots; `write` makes those of further slots after the first one's.
"""

import re
from pathlib import Path

from host.config import Config
from host.files import safe_files

FOLDER = Path("infra/systemd/env")
WEB_PORT = re.compile(r"(?m)^WEB_PORT=.*$")
# main's target is not a port: the surface reads it from the current link at each request.
BACKEND = re.compile(r"(?m)^(WEB_API_PROXY_TARGET=127\.0\.0\.1):.*$")


def list_names(config: Config) -> list[str]:
    """Return the names of the configured surfaces: main, preview1 and so on."""
    return ["main", *(f"preview{slot.number}" for slot in config.slots)]


def find_path(config: Config, name: str) -> Path:
    """Return the path of the surface's env file in this checkout."""
    return config.home / FOLDER / f"web-{name}.env"


def render(config: Config, name: str) -> str:
    """Return the surface's env file with this checkout's ports, whatever ports it has now."""
    path = find_path(config, name)
    if name == "main":
        text = path.read_text()
        return WEB_PORT.sub(f"WEB_PORT={config.web_port}", text)
    slot = config.slot(name)
    if path.exists():
        text = path.read_text()
    else:
        text = find_path(config, "preview1").read_text().replace("preview-1", slot.slot_id)
    text = WEB_PORT.sub(f"WEB_PORT={slot.web_port}", text)
    return BACKEND.sub(rf"\g<1>:{slot.backend_port}", text)


def write(config: Config) -> list[Path]:
    """Write this checkout's ports into the env files that have others; returns those files.

    Without an offset the files of git have the right ports already, and git's tree stays clean.
    """
    changed = []
    for name in list_names(config):
        path, text = find_path(config, name), render(config, name)
        if not path.exists() or path.read_text() != text:
            safe_files.write_atomic(path, text.encode())
            changed.append(path)
    return changed
