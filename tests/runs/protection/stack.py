"""The real router in front of a surface with a preview, and the control plane as a server."""

import contextlib
import os
import subprocess
from dataclasses import dataclass, replace
from typing import Any

from host import config as configuration
from host.deadline import wait_until
from slots.runtime import surface, web_units
from tests.environment import free_port, is_listening
from tests.factories import LeaseFactory, SlotFactory
from tests.service import api
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.surface_server import COMMIT, caddy, request


@dataclass
class Stack:
    """The router's port, the run in preview-1, and its backend with what it received."""

    port: int
    run: Any
    backend: Any

    @property
    def host(self):
        return f"{self.run.label}.preview.localhost"

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def send(self, path, method="GET", body=None, **headers):
        return request(self.port, path, method, body, Host=f"{self.host}:{self.port}", **headers)


def load_config(folder, **values):
    """Return the configuration of a stack with ports that are free."""
    environ = {**os.environ, "OROBOROS_VAR": str(folder / "var"), **values}
    loaded = configuration.load(environ)
    first, *others = loaded.slots
    slot = replace(first, web_port=free_port(), backend_port=free_port())
    (folder / "var" / "run").mkdir(parents=True)
    (folder / "var").chmod(0o755)
    return replace(loaded, slots=(slot, *others), router_port=choose_router_port())


def choose_router_port():
    """Return a free port that an offset can give: the control plane knows it by that."""
    return next(port for port in iter(free_port, None) if 8088 < port < 8088 + 50_000)


@contextlib.contextmanager
def running_stack(folder, serve=echo, **values):
    """Run all of it with more settings; the tests' database must be one that others can read.

    `serve` runs the preview's backend on the port that it is given.
    """
    config = load_config(folder, **values)
    slot = config.slots[0]
    lease = LeaseFactory(held=True, slot=SlotFactory(number=1), run__branch="feature/one")
    run = lease.run
    offset = str(config.router_port - 8088)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(api(**values, OROBOROS_PORT_OFFSET=offset))
        surface.show_live(config, slot, run.pk, COMMIT, None, label=run.label)
        stack.enter_context(caddy(config, "preview1"))
        backend = stack.enter_context(serve(slot.backend_port))
        stack.enter_context(running_router(replace(config, api_port=port)))
        yield Stack(config.router_port, run, backend)


@contextlib.contextmanager
def running_router(config):
    unit = web_units.build_web_units(config)[-1]
    env = {**unit.env, "HOME": str(config.var)}
    process = subprocess.Popen(unit.argv, cwd=unit.cwd, env=env, stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: is_listening(config.router_port), seconds=60, interval=0.01)
        yield
    finally:
        process.terminate()
        process.wait(60)
