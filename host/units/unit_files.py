"""The files of systemd's units for this checkout, made from those of infra/systemd.

These name the checkout /srv/oroboros, and what differs for each slot as that of the first slot.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from host.config import Config, SlotConfig
from host.units.slot_config import list_server_ports

TEMPLATE_HOME = "/srv/oroboros"
FIRST_SLOT = "preview-1"
FIRST_PORTS = (8101, *list_server_ports(1, 0))  # of its backend, and of the servers beside that
# The units of applications make it, with a file system of pseudo-terminals each.
TERMINALS = Path("/run/ouroboros-terminals")
OF_SLOT = re.compile(r"\bpreview-[0-9]+")
# What no unit sees of the host: ProtectHome=yes and a /tmp of its own. See systemd.exec(5).
HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108


def list_unit_files(config: Config) -> list[str]:
    """Return the unit files and their drop-ins, relative to systemd's folder.

    The repository has the drop-ins of the first slot; those of the others are made after it.
    """
    root = config.home / "infra/systemd/units"
    files = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    common = [name for name in files if OF_SLOT.search(name) is None]
    templates = [name for name in files if FIRST_SLOT in name]
    own = [_name_slot(name, slot) for name in templates for slot in config.slots]
    return sorted([*common, *own])


def find_hidden_folder(path: Path) -> Path | None:
    """Return the folder above that path, or above what it leads to, that no unit sees, if any."""
    found = (path, path.resolve())
    return next((one for one in HIDDEN if any(path.is_relative_to(one) for path in found)), None)


def _name_slot(text: str, slot: SlotConfig) -> str:
    """Return a text about the first slot as one about another."""
    for first, own in zip(FIRST_PORTS, (slot.backend_port, *slot.server_ports), strict=True):
        text = text.replace(str(first), str(own))
    return re.sub(rf"{FIRST_SLOT}(?![0-9])", slot.slot_id, text)


def render_file(config: Config, name: str) -> str:
    """Return a file of infra/systemd with the paths and the slots of this checkout."""
    path, number = config.home / "infra/systemd" / name, OF_SLOT.search(name)
    if number is None:
        text = "".join(_repeat_for_slots(config, path.read_text()))
    else:
        slot = config.slot(number[0])
        first = OF_SLOT.sub(FIRST_SLOT, name)
        text = _name_slot((config.home / "infra/systemd" / first).read_text(), slot)
    # var first: it may be outside of the checkout.
    text = text.replace(f"{TEMPLATE_HOME}/var", str(config.var))
    return re.sub(rf"{TEMPLATE_HOME}\b", str(config.home), text)


def _repeat_for_slots(config: Config, text: str) -> Iterator[str]:
    """Yield the lines, those about the first slot once for each slot, those of others not."""
    for line in text.splitlines(keepends=True):
        number = OF_SLOT.search(line)
        if number is None or line.startswith("#"):
            yield line
        elif number[0] == FIRST_SLOT:
            yield from (_name_slot(line, slot) for slot in config.slots)
