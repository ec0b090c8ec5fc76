"""SIGKILL for processes of the stack."""

from contextlib import suppress

import psutil

from host.units import managers
from tests.system.host import is_queue_process

# What starts again only by `runtime-up.sh`, because no process watches it without systemd.
UNWATCHED = ("ouroboros-worker", "ouroboros-api")
KINDS = ("queue", "queue", "queue", "backend", "backend", "production", "caddy", "supervisor",
         "sentinel")  # fmt: skip


def kill_one(host, rng):
    """Kill a random process; returns what it was, and whether the stack must be started again."""
    kind = rng.choice(KINDS)
    if kind in ("queue", "sentinel"):
        return _kill_queue_process(host, rng, kind), False
    units = _list_units(host, kind)
    if not units:
        return f"{kind}: none runs", False
    name = rng.choice(units)
    pid = managers.get_manager(host.config).status(name).pid
    return f"{name} {_kill(pid)}", name in UNWATCHED


def _list_units(host, kind):
    names = managers.get_manager(host.config).list_names()
    prefixes = {
        "backend": ("ouroboros-preview@",),
        "production": ("ouroboros-app@blue", "ouroboros-app@green"),
        "caddy": ("ouroboros-web@", "ouroboros-caddy"),
        "supervisor": UNWATCHED,
    }
    return sorted(name for name in names if name.startswith(prefixes[kind]))


def _kill_queue_process(host, rng, kind):
    worker = managers.get_manager(host.config).status("ouroboros-worker").pid
    with suppress(psutil.Error):
        found = [one for one in psutil.Process(worker).children(True) if is_queue_process(one)]
        found = found[:2] if kind == "sentinel" else found
        if found:
            return f"{kind} {_kill(rng.choice(found).pid)}"
    return f"{kind}: none runs"


def _kill(pid):
    with suppress(psutil.Error, TypeError):
        psutil.Process(pid).kill()
        return pid
    return "had ended"
