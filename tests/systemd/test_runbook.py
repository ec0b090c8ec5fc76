"""The operator's runbook, as it is written, on a host that systemd runs: first to last."""

import json

import pytest

from tests.systemd.machine import wait_for

pytestmark = pytest.mark.root

INSTALL = "./scripts/systemd-install-runtime.sh"
BRING_UP = """
./scripts/runtime-up.sh
./scripts/preview-backend-runtime.sh restart --slot preview-1
./scripts/preview-backend-runtime.sh restart --slot preview-2
./scripts/preview-backend-runtime.sh restart --slot preview-3
./scripts/runtime-health-check.sh
"""
MATRIX = """
curl -fsS http://127.0.0.1:8000/health
curl -fsS http://127.0.0.1:8090/health
curl -fsS http://127.0.0.1:3100/health
curl -fsS http://127.0.0.1:3101/health
curl -fsS http://127.0.0.1:3102/health
curl -fsS http://127.0.0.1:3103/health
curl -fsS http://127.0.0.1:8101/health
curl -fsS http://127.0.0.1:8102/health
curl -fsS http://127.0.0.1:8103/health
curl -fsS -H 'Host: app.example.com' http://127.0.0.1:8088/health
"""
STARTS = """
scripts/preview-backend-runtime.sh start --slot preview-1
scripts/preview-backend-runtime.sh start --slot preview-2
scripts/preview-backend-runtime.sh start --slot preview-3
"""
WIRING = """
curl -fsS http://127.0.0.1:3101/api/health
curl -fsS http://127.0.0.1:3102/api/health
curl -fsS http://127.0.0.1:3103/api/health
"""
SLOTS = "curl -fsS http://127.0.0.1:8000/api/slots | python3 -m json.tool"
REAP = "curl -fsS -X POST http://127.0.0.1:8000/api/slots/reap-expired"
RELEASE = """curl -fsS -X POST http://127.0.0.1:8000/api/slots/<slot_id>/release -H 'Content-Type: application/json' -d '{"run_id":"<run_id>"}'"""  # noqa: E501
RESTART = "./scripts/preview-backend-runtime.sh restart --slot preview-1"
TAIL = "tail -n 200 /tmp/oroboros-preview-backend/preview-1.log"
STATUS = "./scripts/preview-backend-runtime.sh status --slot preview-1"
TARGET = "cat infra/systemd/env/web-preview1.env"
THROUGH_SURFACE = "curl -fsS http://127.0.0.1:3101/api/health"
DIRECT = "curl -fsS http://127.0.0.1:8101/health"
DRY_RUN = "./scripts/preview-slot-migrate.sh --slot preview-1 --dry-run"
MIGRATE = "./scripts/preview-slot-migrate.sh --slot preview-1"
LIST = "./scripts/release-registry.sh list"
ROLLBACK = "./scripts/rollback.sh <release_id>"
HEALTH = "./scripts/runtime-health-check.sh"
STOP = "./scripts/preview-backend-runtime.sh stop --slot preview-1"
START = "./scripts/preview-backend-runtime.sh start --slot preview-1"
REMOTE_MAIN = "runuser -u oroboros -- git -C var/demo/guestbook.git rev-parse main"
REACTION = 'class="react"'  # what only the branch's page has


def lines(block):
    return block.strip().splitlines()


@pytest.fixture(scope="module")
def empty(machine):
    """Return the machine, installed as the runbook has it."""
    planned = machine.run(f"{INSTALL} --dry-run")
    assert json.loads(planned)["ok"]
    assert machine.start("test -e /etc/oroboros").returncode != 0
    machine.install()
    return machine


@pytest.fixture(scope="module")
def up(empty):
    for command in lines(BRING_UP):
        empty.run(command)
    return empty


@pytest.fixture(scope="module")
def shipped(up):
    """Return the machine after two releases were shipped: main, then a branch by its run."""
    up.answer("./scripts/deploy.sh main --reason 'the first release'")
    run = up.make_run("feature/reactions")
    assert run["slot_id"] == "preview-1"
    assert REACTION in up.curl("3101/")
    merged = up.ship(run)
    assert merged["pushed"]
    assert merged["candidate_sha"] in up.run(REMOTE_MAIN)
    return up


@pytest.fixture(scope="module")
def held(shipped):
    """Return the run that holds preview-1 from now on."""
    return shipped.make_run("feature/failing-check")


def test_the_bring_up_makes_every_row_of_the_matrix_well(up):
    for command in [*lines(STARTS), *lines(MATRIX)]:
        up.run(command)
    rows = up.run(HEALTH).splitlines()
    assert len(rows) == 10
    assert all(row.startswith("ok ") for row in rows)
    for number, command in enumerate(lines(WIRING), start=1):
        assert up.answer(command) == {"status": "idle", "slot_id": f"preview-{number}"}


def test_it_may_be_installed_and_brought_up_again(up):
    before = up.run("sha256sum /etc/oroboros/*.env")
    assert "0 things were made" in up.answer(INSTALL)["detail"]
    assert up.run("sha256sum /etc/oroboros/*.env") == before
    up.run("./scripts/runtime-up.sh")


def test_secrets_are_only_for_the_control_plane(up):
    for name in ("api", "worker", "worker-preview", "app"):
        told = up.run(f"stat -c '%a %U' /etc/oroboros/{name}.env").split()
        assert told == ["600", "oroboros"]
    assert up.start("runuser -u ouroboros-job -- cat /etc/oroboros/api.env").returncode != 0
    link = up.run("readlink /etc/oroboros/web-preview1.env").strip()
    assert link == "/srv/oroboros/infra/systemd/env/web-preview1.env"


def test_a_run_is_previewed_and_shipped(shipped):
    assert REACTION in shipped.curl("3100/")
    slots = lambda: {slot["state"] for slot in shipped.get("/api/slots")}  # noqa: E731
    wait_for(lambda: slots() == {"free"}, 20, "not every slot is free")
    assert [one["status"] for one in shipped.answer(LIST)["releases"]] == ["live", "retired"]
    assert shipped.answer(THROUGH_SURFACE) == {"status": "idle", "slot_id": "preview-1"}


def test_a_stuck_slot_is_looked_at_reaped_and_released(shipped, held):
    taken = json.loads(shipped.run(SLOTS))
    assert [slot["run_id"] for slot in taken] == [held["id"], None, None]
    assert shipped.answer(REAP) == {"expired_count": 0, "expired_slots": []}
    other = shipped.make_run("feature/conflict")
    command = RELEASE.replace("<slot_id>", other["slot_id"]).replace("<run_id>", other["id"])
    said = shipped.answer(command)
    assert (said["released"], said["slot_id"]) == (True, "preview-2")
    assert shipped.get(f"/api/runs/{other['id']}")["status"] == "canceled"


def test_a_backend_is_restarted_and_looked_at(shipped, held):
    restarted = shipped.answer(RESTART)
    assert (restarted["ok"], restarted["health"]) == (True, "healthy")
    assert shipped.run(TAIL)
    found = shipped.answer(STATUS)
    assert (found["run"], found["port"], found["db_name"]) == (held["id"], 8101, "app_preview_1")
    assert found["worktree_path"] == "/srv/oroboros/var/slots/preview-1/worktree"
    assert found["pid"] == shipped.pid("ouroboros-preview@preview-1")


def test_a_surface_reaches_its_own_backend(shipped, held):
    assert "WEB_API_PROXY_TARGET=127.0.0.1:8101" in lines(shipped.run(TARGET))
    assert shipped.get(f"/api/runs/{held['id']}")["backend_url"].endswith(":8101")
    said = shipped.answer(THROUGH_SURFACE)
    assert said == shipped.answer(DIRECT)
    assert said["database"] == "app_preview_1"


def test_a_slots_database_is_migrated_by_hand(shipped, held):
    looked = shipped.answer(DRY_RUN)
    assert (looked["ok"], looked["applied"], looked["reason"]) == (True, [], "DRY_RUN")
    assert looked["target"].endswith("/app_preview_1")
    done = shipped.answer(MIGRATE)
    assert (done["ok"], done["reason"], len(done["applied"])) == (True, None, 1)


def test_a_slot_is_stopped_and_started(shipped, held):
    assert shipped.answer(STOP)["health"] == "stopped"
    assert shipped.start(DIRECT).returncode != 0
    assert shipped.answer(START)["health"] == "healthy"
    assert shipped.answer(DIRECT)["database"] == "app_preview_1"


def test_a_release_is_rolled_back(shipped):
    before = shipped.answer(LIST)["releases"]
    release = next(one["release_id"] for one in before if one["status"] == "retired")
    shipped.answer(ROLLBACK.replace("<release_id>", release))
    live = [one for one in shipped.answer(LIST)["releases"] if one["status"] == "live"]
    assert [one["release_id"] for one in live] == [release]
    assert REACTION not in shipped.curl("3100/")
    assert all(row.startswith("ok ") for row in shipped.run(HEALTH).splitlines())
