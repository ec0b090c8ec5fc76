"""A checkout of its own for every test: its own var, ports and uids; and its surface."""

import os
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from host import config as configuration
from slots.runtime import idle_page, surface
from tests import environment
from tests.lease_ends import nothing_is_left_at_the_end_of_a_lease
from tests.slots.runtime.surface_server import caddy

__all__ = ["nothing_is_left_at_the_end_of_a_lease"]


@pytest.fixture
def folder():
    """A folder that the slots' users can enter; they cannot enter pytest's own."""
    folder = Path(tempfile.mkdtemp(dir=environment.CLUSTER.folder.parent))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def config(folder):
    """A Config whose files lie in the test's folder and whose ports are free."""
    # With a blank, as in the paths that people have.
    environ = {**os.environ, "OROBOROS_VAR": str(folder / "my var")}
    environ["OROBOROS_RUNTIME_LOG_DIR"] = str(folder / "runtime-logs")
    # Cleaning a slot kills all processes of its uid, so tests of other processes need other uids.
    environ["OROBOROS_UID_BASE"] = str(100000 + 100 * (os.getpid() % 5000))
    loaded = configuration.load(environ)
    slots = tuple(
        replace(
            slot,
            web_port=environment.free_port(),
            backend_port=environment.free_port(),
            server_ports=tuple(environment.free_port() for _ in slot.server_ports),
        )
        for slot in loaded.slots
    )
    names = ("web_port", "api_port", "worker_port", "router_port", "gate_port")
    ports = {name: environment.free_port() for name in names}
    colours = (environment.free_port(), environment.free_port())
    return replace(loaded, slots=slots, colour_ports=colours, **ports)


@pytest.fixture
def slot(config):
    return config.slots[0]


@pytest.fixture
def web(config, slot):
    """The surface of the first slot, free; returns its port."""
    surface.show_free(config, slot)
    with caddy(config, "preview1") as port:
        yield port


@pytest.fixture
def start_idle_page(slot):
    """Return a function that starts the idle page of the first slot."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", slot.backend_port))

        def start():
            listener.listen(16)
            threading.Thread(target=serve_until_closed, args=(listener, slot), daemon=True).start()

        yield start
        with suppress(OSError):  # it was never started
            listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def idle_page_server(start_idle_page):
    """The idle page of the first slot, which answers on the slot's backend port."""
    start_idle_page()


def serve_until_closed(listener, slot):
    with suppress(OSError):
        idle_page.serve(listener, slot.slot_id)
