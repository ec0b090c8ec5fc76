"""Django with Celery, beat, Redis and a second server: previews, kills, ship, roll back."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from host.deadline import wait_until
from host.process import process_table
from host.services.redis_server import PRODUCTION, RedisServer
from host.units import managers
from releases.deployments import deploy_and_rollback
from releases.models import Release
from releases.processes import background
from releases.production import colours
from runs.lifecycle import operations
from runs.models import Event, Run
from slots.models import Lease
from slots.runtime import backend, surface
from tests.host.services.test_redis_server import call
from tests.releases.deployments.test_load import wait_for_responses
from tests.runs.pipelines.preview import celery_shop
from tests.runs.pipelines.preview.world import WorkedHost
from tests.slots.runtime.surface_server import caddy
from tests.system.host import wait_for

pytestmark = pytest.mark.full

NOTICED_SECONDS = 5
BACKGROUND = ["beat", "worker"]


@pytest.fixture
def shop(host, tmp_path):
    """A host with a worker, whose application is the shop."""
    for name, text in celery_shop.FILES.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return host(tmp_path / "shop", WorkedHost)


def begin(place, branch, version):
    """Have the worker carry a run of a new version to preview_ready; returns it."""
    place.commit(branch, {"version": version})
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    return wait_for_run(run, "preview_ready")


def wait_for_run(run, status):
    over = {status, "failed", "merged", "canceled"}
    wait_for(lambda: Run.objects.get(pk=run.pk).status in over, 400, f"run is not {status}")
    found = Run.objects.get(pk=run.pk)
    assert found.status == status, (found.failure_code, found.failure_detail)
    return found


def ship(run):
    operations.approve(run, actor="grace")
    return wait_for_run(run, "merged")


def read(place, port, name):
    """Return what the application answers to /api/<name>; None while it does not."""
    try:
        return place.get(port, f"/api/{name}").json()
    except (OSError, ValueError):
        return None


def enqueue(place, port, text):
    wait_for(lambda: read(place, port, f"enqueue/{text}"), 60, "the task is not queued")


def wait_until_done(place, port, text):
    def find():
        answer = read(place, port, "done") or {"done": []}
        return next((one for one in answer["done"] if one["text"] == text), None)

    return wait_for(find, 60, f"{text} is not done")


def read_tasks_of_production(config):
    """Return the texts that wait in production's queue."""
    url = RedisServer(config, PRODUCTION).read_url()
    count = int(call(url, "LLEN celery").removeprefix(":"))
    return [call(url, f"LINDEX celery {place}") for place in range(count)]


def find_releases_of_celery():
    """Return the releases whose Celery processes run, of this or of any other application."""
    found = set()
    for entry in process_table.list_processes():
        line = Path(f"/proc/{entry.pid}/cmdline")
        words = line.read_bytes().split(b"\0") if line.exists() else []
        if b"shop" in words and any(word.endswith(b"celery") for word in words):
            found.add(process_table.read_variable(entry.pid, "OROBOROS_RELEASE"))
    return found - {None}


def kill(config, unit, is_told):
    """Kill a unit; it is told of within NOTICED_SECONDS. Returns what waits until it runs again."""
    manager = managers.get_manager(config)
    pid = manager.status(unit).pid
    os.kill(pid, signal.SIGKILL)
    wait_for(is_told, NOTICED_SECONDS, f"the end of {unit} is not told")

    def runs_again():
        status = manager.status(unit)
        return status.is_active and status.pid != pid

    return lambda: wait_for(runs_again, 60, f"{unit} is not started again")


def has_event(after, *words):
    """Return a function that says whether an event after that one has all the words."""

    def is_there():
        texts = Event.objects.filter(pk__gt=after).values_list("text", flat=True)
        return any(all(word in text for word in words) for text in texts)

    return is_there


def kill_redis(config, name):
    """Kill a Redis server; the same. Its restart is told too."""
    since, unit = last_event(), RedisServer(config, name).unit_name
    ended = has_event(since, f"{unit} ended")
    restarted = has_event(since, f"Redis of {name}", "started again")
    wait = kill(config, unit, lambda: ended() or restarted())

    def wait_until_told():
        wait()
        wait_for(restarted, 60, f"the restart of {unit} is not told")

    return wait_until_told


def last_event():
    return Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


@contextmanager
def loaded(port):
    """Send 100 requests a second while the body runs; yields a dict that has the results then."""
    seen = {}
    argv = [sys.executable, "-m", "tests.releases.load_clients", str(port), "100"]
    with subprocess.Popen(argv, stdin=PIPE, stdout=PIPE, text=True) as load:
        wait_for_responses(load, 100)
        yield seen
        wait_for_responses(load, 50)
        seen.update(json.loads(load.communicate()[0]))


def list_lost(seen):
    """Return the requests that failed, but for those of the second server, which was killed.

    They wait for it for two seconds, and its restart may take longer.
    """
    waited = re.compile(r"/(?:app-\w+\.js)?: 502")
    return [text for text in seen["failures"] if not waited.fullmatch(text)]


def assert_one_generation(config):
    release = Release.objects.live()
    assert wait_until(lambda: find_releases_of_celery() == {release.pk}, seconds=60)
    names = sorted(name.partition("@")[2] for name in background.list_units(config))
    assert names == BACKGROUND
    unit = colours.unit_name(colours.get_live_colour(config))
    servers = [name for name in managers.get_manager(config).list_names() if "app@" in name]
    assert servers == [unit, f"{unit}.1"]


def test_a_shop_with_celery_ships_and_its_queues_stay_apart(shop):
    config, slot = shop.config, shop.config.slots[0]
    surface.show_free(config, slot)
    with shop.working(), caddy(config, "preview1") as preview, caddy(config, "main") as main:
        first = ship(begin(shop, "shop/first", "0000001a"))
        enqueue(shop, main, "of-production")
        assert wait_until_done(shop, main, "of-production")["place"] == "production"

        wait_for(lambda: not Lease.objects.open().exists(), 60, "the slot is not cleaned")
        run = begin(shop, "shop/second", "0000002a")
        assert shop.get(preview, "/").text == "<title>0000002a</title>"
        enqueue(shop, preview, "of-the-preview")
        done = wait_until_done(shop, preview, "of-the-preview")
        assert (done["place"], done["process"]) == (slot.slot_id, "worker")
        assert done["commit"] == run.commit_sha
        wait_for(lambda: (read(shop, preview, "ticks") or {"ticks": 0})["ticks"], 30, "no tick")
        assert not any("of-the-preview" in one for one in read_tasks_of_production(config))
        assert [one["text"] for one in read(shop, main, "done")["done"]] == ["of-production"]

        with loaded(preview) as seen:
            check_kills_in_the_preview(config, slot)
        assert list_lost(seen) == []
        enqueue(shop, preview, "after-the-kills")
        wait_until_done(shop, preview, "after-the-kills")
        check_kills_in_production(config, main)
        enqueue(shop, main, "after-the-kills")
        wait_until_done(shop, main, "after-the-kills")
        ship_and_roll_back_under_load(shop, run, first, main)


def check_kills_in_the_preview(config, slot):
    named = {one.name: one for one in backend.status(config, slot).spec.processes}
    since, restarted = last_event(), []
    # Without a pause: the second one ends while the first is started again.
    for name in ("worker", "site"):
        unit = backend.processes.unit_name(slot, named[name])
        restarted.append(kill(config, unit, has_event(since, f"process {name}")))
    restarted.append(kill_redis(config, slot.slot_id))
    for wait in restarted:
        wait()
    wait_for(has_event(since, "was started again"), 60, "the restart is not told")
    wait_for(lambda: backend.status(config, slot).matches_spec, 60, "the preview is not well")


def check_kills_in_production(config, main):
    # No page of the application needs them: their ends lose no request.
    with loaded(main) as seen:
        # The worker twice: its second restart has a delay.
        for name in ("worker", "beat", "worker"):
            unit = background.unit_name(name)
            kill(config, unit, has_event(last_event(), f"{unit} ended"))()
        kill_redis(config, PRODUCTION)()
    assert seen["failures"] == []
    site = f"{colours.unit_name(colours.get_live_colour(config))}.1"
    with loaded(main) as seen:
        kill(config, site, has_event(last_event(), f"{site} ended"))()
    assert list_lost(seen) == []


def ship_and_roll_back_under_load(shop, run, first, main):
    with loaded(main) as seen:
        second = ship(run)
        assert_one_generation(shop.config)
        deploy_and_rollback.roll_back(shop.config, first.release_id, actor="grace", reason="a test")
        assert_one_generation(shop.config)
    assert seen["failures"] == []
    versions = {(first.candidate_sha, "0000001a"), (second.candidate_sha, "0000002a")}
    assert {tuple(pair) for pair in seen["pairs"]} == versions
