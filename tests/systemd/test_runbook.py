"""The operator's runbook, command by command in its order, on a host with systemd."""

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
# Both answer 503 until a release is live, and runtime-health-check calls the stack healthy.
NEED_A_RELEASE = (
    "curl -fsS http://127.0.0.1:3100/health",
    "curl -fsS -H 'Host: app.example.com' http://127.0.0.1:8088/health",
)
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
REACTION = 'class="react"'  # only the page of feature/reactions contains it


def split_lines(block):
    return block.strip().splitlines()


@pytest.fixture(scope="module")
def installed(machine):
    """Return the machine after the runbook's installation."""
    planned = machine.run(f"{INSTALL} --dry-run")
    assert json.loads(planned)["ok"]
    assert machine.run_unchecked("test -e /etc/oroboros").returncode != 0
    machine.install()
    return machine


@pytest.fixture(scope="module")
def up(installed):
    """Return the machine after the runbook's bring-up."""
    for command in split_lines(BRING_UP):
        installed.run(command)
    return installed


@pytest.fixture(scope="module")
def shipped(up):
    """Return the machine after two releases were shipped: main, then a branch."""
    up.run_json("./scripts/deploy.sh main --reason 'the first release'")
    run = up.make_run("feature/reactions")
    assert run["slot_id"] == "preview-1"
    assert REACTION in up.curl("3101/")
    merged = up.ship(run)
    assert merged["pushed"]
    assert merged["candidate_sha"] in up.run(REMOTE_MAIN)
    return up


@pytest.fixture(scope="module")
def held(shipped):
    """Return a run whose preview is in preview-1."""
    return shipped.make_run("feature/failing-check")


def test_after_the_bring_up_every_row_of_the_matrix_is_healthy(up):
    for command in [*split_lines(STARTS), *split_lines(MATRIX)]:
        if command not in NEED_A_RELEASE:
            up.run(command)
    for command in NEED_A_RELEASE:
        answer = up.run_unchecked(command.replace("-fsS", "-sS"))
        assert "No release is live yet." in answer.stdout.decode()
        assert up.run_unchecked(command).returncode == 22  # curl's exit code for an HTTP error
    rows = up.run(HEALTH).splitlines()
    assert len(rows) == 10
    assert all(row.startswith("ok ") for row in rows)
    for number, command in enumerate(split_lines(WIRING), start=1):
        assert up.run_json(command) == {"status": "idle", "slot_id": f"preview-{number}"}


def test_a_second_installation_changes_nothing(up):
    before = up.run("sha256sum /etc/oroboros/*.env")
    assert "0 changes were made" in up.run_json(INSTALL)["detail"]
    assert up.run("sha256sum /etc/oroboros/*.env") == before
    up.run("./scripts/runtime-up.sh")


def test_only_the_control_plane_can_read_the_secrets(up):
    for name in ("api", "worker", "worker-preview", "app"):
        mode_and_owner = up.run(f"stat -L -c '%a %U' /etc/oroboros/{name}.env").split()
        assert mode_and_owner == ["600", "oroboros"]
    assert up.run_unchecked("runuser -u ouroboros-job -- cat /etc/oroboros/api.env").returncode != 0
    link = up.run("readlink /etc/oroboros/web-preview1.env").strip()
    assert link == "/srv/oroboros/infra/systemd/env/web-preview1.env"


def test_a_shipped_run_is_served_and_its_slot_is_free_again(shipped):
    assert REACTION in shipped.curl("3100/")
    for command in NEED_A_RELEASE:
        shipped.run(command)
    states = lambda: {slot["state"] for slot in shipped.get("/api/slots")}  # noqa: E731
    wait_for(lambda: states() == {"free"}, 20, "not every slot is free")
    assert [one["status"] for one in shipped.run_json(LIST)["releases"]] == ["live", "retired"]
    assert shipped.run_json(THROUGH_SURFACE) == {"status": "idle", "slot_id": "preview-1"}


def test_the_release_of_a_slot_cancels_its_run(shipped, held):
    slots = json.loads(shipped.run(SLOTS))
    assert [slot["run_id"] for slot in slots] == [held["id"], None, None]
    assert shipped.run_json(REAP) == {"expired_count": 0, "expired_slots": []}
    other = shipped.make_run("feature/conflict")
    command = RELEASE.replace("<slot_id>", other["slot_id"]).replace("<run_id>", other["id"])
    answer = shipped.run_json(command)
    assert (answer["released"], answer["slot_id"]) == (True, "preview-2")
    assert shipped.get(f"/api/runs/{other['id']}")["status"] == "canceled"


def test_after_a_restart_status_shows_the_runs_backend(shipped, held):
    restarted = shipped.run_json(RESTART)
    assert (restarted["ok"], restarted["health"]) == (True, "healthy")
    assert shipped.run(TAIL)
    status = shipped.run_json(STATUS)
    assert (status["run"], status["port"], status["db_name"]) == (held["id"], 8101, "app_preview_1")
    assert status["worktree_path"] == "/srv/oroboros/var/slots/preview-1/worktree"
    assert status["pid"] == shipped.pid("ouroboros-preview@preview-1")


def test_a_surface_reaches_the_backend_of_its_slot(shipped, held):
    assert "WEB_API_PROXY_TARGET=127.0.0.1:8101" in split_lines(shipped.run(TARGET))
    assert shipped.get(f"/api/runs/{held['id']}")["backend_url"].endswith(":8101")
    answer = shipped.run_json(THROUGH_SURFACE)
    assert answer == shipped.run_json(DIRECT)
    assert answer["database"] == "app_preview_1"


def test_a_migration_by_hand_is_planned_and_applied(shipped, held):
    planned = shipped.run_json(DRY_RUN)
    assert (planned["ok"], planned["applied"], planned["reason"]) == (True, [], "DRY_RUN")
    assert planned["target"].endswith("/app_preview_1")
    done = shipped.run_json(MIGRATE)
    assert (done["ok"], done["reason"], len(done["applied"])) == (True, None, 1)


def test_a_stopped_backend_does_not_answer_until_it_is_started(shipped, held):
    assert shipped.run_json(STOP)["health"] == "stopped"
    assert shipped.run_unchecked(DIRECT).returncode != 0
    assert shipped.run_json(START)["health"] == "healthy"
    assert shipped.run_json(DIRECT)["database"] == "app_preview_1"


def test_a_rollback_makes_the_earlier_release_live(shipped):
    before = shipped.run_json(LIST)["releases"]
    release = next(one["release_id"] for one in before if one["status"] == "retired")
    shipped.run_json(ROLLBACK.replace("<release_id>", release))
    live = [one for one in shipped.run_json(LIST)["releases"] if one["status"] == "live"]
    assert [one["release_id"] for one in live] == [release]
    assert REACTION not in shipped.curl("3100/")
    assert all(row.startswith("ok ") for row in shipped.run(HEALTH).splitlines())
    # The rollback froze shipping (ROLLBACK_FREEZES); other tests of this machine ship.
    unfreeze = ".venv/bin/python manage.py unfreeze --reason 'the rollback was looked at'"
    assert "1 freezes lifted" in shipped.run(unfreeze)
