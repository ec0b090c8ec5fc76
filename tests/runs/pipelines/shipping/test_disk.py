"""A full disk at each step: the run fails with a code, and the rest stays unchanged."""

import errno
import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.test import Client

from accounts.tokens import create_token
from host.postgres import guard
from runs import freezes
from runs.lifecycle import execution, operations
from runs.models import Run
from slots.models import Lease
from tests.environment import CLUSTER
from tests.runs.pipelines.shipping import tiny
from tests.runs.pipelines.shipping.conftest import opened
from tests.runs.pipelines.shipping.harness import Harness, ways_out
from tests.runs.pipelines.shipping.world import World

pytestmark = pytest.mark.root
BLOCK = 4096


@contextmanager
def mounted(folder, options):
    """Mount a small disk at that folder while the block runs."""
    argv = ["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "tmpfs", str(folder)]
    subprocess.run(argv, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def disk(megabytes):
    """A small disk at a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="oroboros-disk-"))
    try:
        with mounted(folder, f"size={megabytes}m"):
            yield folder
    finally:
        folder.rmdir()


def fill(folder):
    """Fill the disk of that folder."""
    with (folder / "filler").open("ab", buffering=0) as filler:
        try:
            while filler.write(b"x" * BLOCK) == BLOCK:
                pass
        except OSError as full:
            assert full.errno == errno.ENOSPC


def enlarge(folder):
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)


def make_room(folder):
    (folder / "filler").unlink()


@pytest.fixture(scope="module")
def a_cramped_world():
    """A host whose whole folder, its remote too, lies on a disk of its own."""
    with disk(96) as folder:
        made = World(
            tiny.files,
            folder,
            OROBOROS_PRODUCTION_DATABASE="app_production_cramped",
            DEPLOY_HEALTH_SECONDS="0",
        )
        made.install_hook("post-receive", tiny.COUNT.format(folder=made.folder))
        yield made
        made.close()


@pytest.fixture
def cramped(a_cramped_world, transactional_db, settings, monkeypatch):
    with opened(a_cramped_world, settings, monkeypatch):
        yield a_cramped_world


def make_run(world):
    branch = f"full/{world.commits()}"
    world.commit(branch, {"full.txt": branch})
    return operations.create_run(title=branch, branch=branch, actor="ada")


def go(run):
    """Execute the run until it waits for a person."""
    execution.execute_run(run.pk)
    run.refresh_from_db()
    if run.status == "preview_ready":
        operations.approve(run, actor="grace")
        execution.execute_run(run.pk)
        run.refresh_from_db()


def reads(run):
    """Return the run as the API shows it now."""
    secret = create_token("reader", ["view"], created_by="tests")
    client = Client(headers={"authorization": f"Bearer {secret}"})
    for path in ("/api/slots", "/api/runs", f"/api/runs/{run.pk}/events", "/api/releases"):
        assert client.get(path).status_code == 200, path
    return client.get(f"/api/runs/{run.pk}").json()


def assert_failed_and_clean(run, harness):
    """It says why, while the disk is full; what it had is given back once there is room."""
    run.refresh_from_db()
    harness.reconcile()
    assert (run.status, run.failure_code) == ("failed", "DISK_FULL")
    assert [*harness._machine()] == []
    assert [lease.state for lease in Lease.objects.filter(run=run)] == ["ended"]


def assert_goes_on(world):
    following = make_run(world)
    go(following)
    assert (following.status, following.failure_detail) == ("merged", "")
    return following


@pytest.mark.parametrize(
    "step",
    [
        *(
            pytest.param(step, marks=pytest.mark.full)
            for step in ("worktree", "candidate", "checks")
        ),
        *("build", "migrations", "release", "merge"),
    ],
)
def test_a_full_disk_fails_the_run_and_nothing_else(step, cramped, during, monkeypatch):
    harness = Harness(cramped, monkeypatch)
    run, main = make_run(cramped), cramped.remote_main()
    during(step, lambda: fill(cramped.folder))
    try:
        go(run)
        shown = reads(run)
    finally:
        make_room(cramped.folder)
    assert (shown["status"], shown["failure_code"]) == ("failed", "DISK_FULL")
    assert "Free disk space" in shown["next_action"]
    assert run.steps.get(name=step).status == "failed"
    assert cramped.remote_main() == main
    assert_failed_and_clean(run, harness)
    assert freezes.list_active_freezes() == []
    assert_goes_on(cramped)


def test_a_full_disk_at_the_push_leaves_the_merge_to_a_retry(cramped, during, monkeypatch):
    harness = Harness(cramped, monkeypatch)
    run, main = make_run(cramped), cramped.remote_main()
    during("push", lambda: fill(cramped.folder))
    try:
        go(run)
        assert reads(run)["failure_code"] == "DISK_FULL"
    finally:
        make_room(cramped.folder)
    assert cramped.remote_main() == main
    assert_failed_and_clean(run, harness)
    [freeze] = freezes.list_active_freezes()
    assert freeze.run == run  # our main could not be taken back
    assert ways_out(run) == ["retry", "revert", "unfreeze"]
    assert "./scripts/push.sh" in run.next_action
    again = operations.retry(run, actor="ada")
    go(again)
    assert (again.status, again.candidate_sha) == ("merged", run.candidate_sha)
    assert cramped.remote_main() == run.candidate_sha
    assert freezes.list_active_freezes() == []


def test_a_full_disk_at_the_deploy_keeps_the_live_release(cramped, during, monkeypatch):
    harness = Harness(cramped, monkeypatch)
    before, run = assert_goes_on(cramped), make_run(cramped)
    during("deploy", lambda: fill(cramped.folder))
    try:
        go(run)
        shown = reads(run)
        served = cramped.get(cramped.config.web_port, "/api/health").text
    finally:
        make_room(cramped.folder)
    assert (shown["failure_code"], served) == ("DEPLOY_HEALTHCHECK_FAILED", before.candidate_sha)
    assert "No space left" in shown["failure_detail"]
    harness.reconcile()
    assert [*harness._machine()] == []
    assert [*harness._live(run, before.candidate_sha)] == []


def test_a_run_without_disk_space_for_its_logs_fails_with_a_code(small, monkeypatch):
    harness, run = Harness(small, monkeypatch), make_run(small)
    artifacts = small.config.var / "artifacts"
    artifacts.mkdir(exist_ok=True)
    with mounted(artifacts, "nr_inodes=1"):
        go(run)
        assert reads(run)["failure_code"] == "DISK_FULL"
    assert not run.steps.exists()
    assert_failed_and_clean(run, harness)
    assert_goes_on(small)


@pytest.fixture
def template(small, ready_small):
    """Have the template of main lie on a small disk, of which the folder is yielded."""
    operations.cancel(ready_small("full/template"), actor="ada")
    name = guard.template_name(small.remote_main())
    with disk(12) as folder:
        place = folder / "tablespace"
        place.mkdir(0o700)
        os.chown(place, CLUSTER.user.uid, CLUSTER.user.gid)
        move = f"ALTER DATABASE {name} SET TABLESPACE"
        CLUSTER.execute([f"CREATE TABLESPACE cramped LOCATION '{place}'", f"{move} cramped"])
        yield folder
        enlarge(folder)
        CLUSTER.execute([f"{move} pg_default", "DROP TABLESPACE cramped"])


def test_a_database_without_disk_space_fails_the_run(small, template, harness):
    run = make_run(small)
    fill(template)
    go(run)
    assert reads(run)["failure_code"] == "DISK_FULL"
    assert run.steps.get(name="database").status == "failed"
    assert_failed_and_clean(run, harness)
    make_room(template)


@pytest.mark.full
def test_a_database_server_without_disk_space_leaves_its_slot_to_be_cleaned(
    small, template, harness
):
    """PostgreSQL clones sparsely: that there is no room comes out with the next checkpoint."""
    run, other = make_run(small), make_run(small)
    for one in (run, other):
        execution.execute_run(one.pk)
        assert Run.objects.get(pk=one.pk).status == "preview_ready"
    fill(template)
    operations.cancel(run, actor="ada")  # to drop its database the other's is written first
    assert reads(run)["status"] == "canceled"
    assert Lease.objects.get(run=run).state == "ending"
    assert "PostgreSQL failed" in run.events.get(kind="not_clean").text
    enlarge(template)
    harness.reconcile()
    operations.cancel(other, actor="ada")
    assert [*harness._machine()] == []
    assert Lease.objects.get(run=run).state == "ended"
