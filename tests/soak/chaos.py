"""SIGKILL for processes of the stack."""

from contextlib import suppress

import psutil

from host.units import managers
from tests.system.host import is_queue_process

# They start each other again, or if both are killed at once `runtime-up.sh` does.
CONTROL = ("ouroboros-worker", "ouroboros-api")
KINDS = ("queue", "queue", "queue", "backend", "backend", "production", "caddy", "supervisor",
         "sentinel")  # fmt: skip


def kill_one(host, rng):
    """Kill a random process, and return what it was."""
    kind = rng.choice(KINDS)
    if kind in ("queue", "sentinel"):
        return _kill_queue_process(host, rng, kind)
    units = _list_units(host, kind)
    if not units:
        return f"{kind}: none runs"
    name = rng.choice(units)
    pid = managers.get_manager(host.config).status(name).pid
    return f"{name} {_kill(pid)}"


def _list_units(host, kind):
    names = managers.get_manager(host.config).list_names()
    prefixes = {
        "backend": ("ouroboros-preview@",),
        "production": ("ouroboros-app@blue", "ouroboros-app@green"),
        "caddy": ("ouroboros-web@", "ouroboros-caddy"),
        "supervisor": CONTROL,
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
    with suppress(psutil.Error):
        if pid is not None:  # which psutil takes for this process
            psutil.Process(pid).kill()
            return pid
    return "had ended"
