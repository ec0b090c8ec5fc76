"""Redis: a preview has a server of its own, and production's outlives releases."""

from dataclasses import replace

import pytest

from host.services.redis_server import JOBS, PRODUCTION, RedisServer
from releases.deployments import deploy_and_rollback
from runs.lifecycle import execution, operations
from runs.models import Run
from slots.runtime import cleanup
from tests.environment import free_port
from tests.host.services.test_redis_server import call
from tests.runs.pipelines.shipping import tiny

# Its queue has the commits that were started; it answers only if Redis accepts one more.
SERVER = """\
import os
import socket
from urllib.parse import urlsplit

url = urlsplit(os.environ["REDIS_URL"])
with socket.create_connection((url.hostname, url.port), 10) as link:
    push = f"RPUSH started {os.environ['OROBOROS_COMMIT']}"
    words = "\\r\\n".join([f"AUTH {url.password}", push, "QUIT", ""])
    link.sendall(words.encode())
    assert b":" in link.makefile("rb").read()
"""
RELEASE = SERVER.replace("started", "released")
FILES = {
    "server.py": SERVER + tiny.SERVER,
    "release.py": RELEASE,
    "oroboros.toml": '[checks]\nquick = "true"\n[services]\nredis = true\n',
}


@pytest.fixture
def queueing(small, settings):
    """The host whose main has a Redis server, on ports of this test."""
    config = small.config
    slots = tuple(replace(slot, redis_port=free_port()) for slot in config.slots)
    small.config = replace(config, slots=slots, redis_ports=(free_port(), free_port()))
    settings.OROBOROS = small.config
    small.commit("main", FILES)
    yield small
    small.commit("main", tiny.files(small.folder))
    small.tidy()
    for name in (PRODUCTION, JOBS):
        RedisServer(small.config, name).remove()
    small.config = config


def read_commits(world, name, key="started"):
    url = RedisServer(world.config, name).read_url()
    count = int(call(url, f"LLEN {key}").removeprefix(":"))
    return [call(url, f"LINDEX {key} {number}") for number in range(count)]


@pytest.mark.full
def test_a_preview_has_its_own_server_and_productions_outlives_releases(
    queueing, ready_small, ships
):
    config = queueing.config
    run = ready_small("redis/first")
    assert read_commits(queueing, "preview-1") == [run.commit_sha]
    assert read_commits(queueing, "preview-1", "released") == [run.commit_sha]
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    first = Run.objects.get(pk=run.pk)
    assert first.status == "merged", first.failure_detail
    assert not RedisServer(config, "preview-1").is_wanted
    assert read_commits(queueing, PRODUCTION) == [first.candidate_sha]
    # The merge gate's start had another server.
    assert read_commits(queueing, JOBS) == [first.candidate_sha]
    second = ships("redis/second")
    assert second.status == "merged", second.failure_detail
    deploy_and_rollback.roll_back(config, first.release_id, actor="grace", reason="a test")
    commits = [first.candidate_sha, second.candidate_sha, first.candidate_sha]
    assert read_commits(queueing, PRODUCTION) == commits


def test_the_end_of_a_lease_removes_the_server(queueing):
    config = queueing.config
    slot = config.slots[0]
    server = RedisServer(config, slot.slot_id)
    server.start_empty()
    assert any("a Redis server" in one for one in cleanup.find_leftovers(config, slot))
    assert cleanup.clean_slot(config, slot) == []
    assert not server.is_wanted
    assert cleanup.find_leftovers(config, slot) == []
