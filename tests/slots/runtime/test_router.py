"""The router, run by the real Caddy with all the slots that there can be."""

import subprocess
from dataclasses import replace

import pytest

from host import config as configuration
from host.deadline import wait_until
from host.files.surface_folder import LiveFile, SurfaceFolder
from slots.runtime import web_units
from tests.environment import free_port, is_listening
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.surface_server import COMMIT, request


@pytest.fixture
def stack(tmp_path):
    """A configuration of 64 slots, of which the last has a port that answers."""
    values = {"OROBOROS_SLOTS": "64", "OROBOROS_VAR": str(tmp_path)}
    loaded = configuration.load(values, home=configuration.HOME)
    last = replace(loaded.slots[-1], web_port=free_port())
    (tmp_path / "run").mkdir()
    return replace(loaded, slots=(*loaded.slots[:-1], last), router_port=free_port())


def test_the_router_knows_each_slot_by_its_number_and_by_its_runs_label(stack):
    slot = stack.slots[-1]
    live = LiveFile(1, f"127.0.0.1:{slot.backend_port}", COMMIT, "17", "live", label="my-branch")
    folder = SurfaceFolder(slot.folder)
    with folder.write_version(live):
        pass
    folder.switch(1)
    unit = web_units.build_web_units(stack)[-1]
    env = {**unit.env, "HOME": str(stack.var)}
    process = subprocess.Popen(unit.argv, cwd=unit.cwd, env=env, stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: is_listening(stack.router_port), seconds=60, interval=0.01)
        with echo(slot.web_port, name="the last slot"):
            for host in ("preview64.example.com", "my-branch.preview.example.com"):
                answer = request(stack.router_port, "/x", Host=host)
                assert answer.json["name"] == "the last slot", host
        for host in ("preview65.example.com", "preview0.example.com", "preview064.example.com"):
            assert request(stack.router_port, "/x", Host=host).status == 404, host
        with echo(stack.api_port, name="the control plane"):
            absent = request(stack.router_port, "/x", Host="other.preview.example.com")
        assert (absent.json["name"], absent.json["path"]) == (
            "the control plane",
            "/internal/preview",
        )
    finally:
        process.terminate()
        process.wait(60)
