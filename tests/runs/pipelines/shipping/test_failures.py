"""Failures of a run: the code, the log, and what remains afterwards."""

import pytest
from django.core.management import CommandError, call_command

from host.errors import Refused
from host.postgres import guard
from releases.models import Release
from runs.difference import compute_difference
from runs.lifecycle import execution, operations, retention
from runs.models import Run
from runs.pipelines import template_databases
from runs.repository import open_repository
from slots.models import Lease
from slots.rules import LeaseState
from tests.runs.pipelines.shipping import tiny

BAD_MIGRATION = "ALTER TABLE nobody_made_this ADD COLUMN x int;\n"
UNLOCKED = '[project]\nname = "small"\nversion = "1"\ndependencies = ["idna"]\n'
STALE_LOCK = '[[package]]\nname = "small"\nversion = "1"\nsource = { virtual = "." }\n'
FAILING_TEST = """import unittest


class Broken(unittest.TestCase):
    def test(self):
        self.fail("on purpose")
"""


def is_free_and_clean(world, slot_id="preview-1"):
    slot = world.config.slot(slot_id)
    idle = world.get(slot.backend_port, "/health").json()
    assert idle == {"status": "idle", "slot_id": slot_id}
    assert not (slot.folder / "worktree").exists()
    assert not Lease.objects.exclude(state=LeaseState.ENDED).exists()
    return True


def execute_branch(branch, approve=False):
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    execution.execute_run(run.pk)
    if approve:
        run.refresh_from_db()
        operations.approve(run, actor="grace")
        execution.execute_run(run.pk)
    return Run.objects.get(pk=run.pk)


def test_a_failed_migration_ends_the_run_before_it_is_ready(world):
    world.commit("bad/migration", {"backend/migrations/0009_bad.sql": BAD_MIGRATION})
    run = execute_branch("bad/migration")
    assert (run.status, run.failure_code) == ("failed", "MIGRATION_FAILED")
    assert "nobody_made_this" in run.failure_detail
    assert "fix the migration" in run.next_action
    assert run.artifacts.filter(name="migrate_log").exists()
    assert is_free_and_clean(world)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        ("os.makedirs('out'); os.symlink('out', 'dist')", "dist is a link"),
        ("open('dist', 'w').close()", "dist is a link or a file"),
        ("pass", "created no folder frontend/dist"),
        ("os.makedirs('dist/' + 'a/' * 900)", "nested deeper"),
    ],
)
def test_a_build_output_that_cannot_be_served_fails_the_build(world, build, why):
    branch = f"bad/output-{world.commits()}"
    world.commit(branch, {"frontend/build.py": f"import os\n\n{build}\n"})
    run = execute_branch(branch)
    assert (run.status, run.failure_code) == ("failed", "BUILD_FAILED")
    assert why in run.failure_detail
    assert is_free_and_clean(world)


def test_a_build_that_prints_a_null_byte_fails_with_its_log(world):
    branch = f"bad/output-{world.commits()}"
    world.commit(branch, {"frontend/build.py": 'print("a\\0b")\nraise SystemExit(1)\n'})
    run = execute_branch(branch)
    assert (run.status, run.failure_code) == ("failed", "BUILD_FAILED")
    assert "a\N{REPLACEMENT CHARACTER}b" in run.failure_detail
    assert is_free_and_clean(world)


def test_failed_checks_leave_main_and_production_unchanged(world):
    world.commit("bad/check", {"backend/tests/test_broken.py": FAILING_TEST})
    before = world.remote_main()
    run = execute_branch("bad/check", approve=True)
    assert (run.status, run.failure_code) == ("failed", "CHECKS_FAILED")
    assert "on purpose" in run.failure_detail
    assert world.remote_main() == before
    assert not list((world.config.var / "gates").iterdir())
    assert is_free_and_clean(world)


def test_a_merge_conflict_names_the_files(world):
    world.commit("bad/conflict", {"README.md": "theirs\n"})
    world.commit("main", {"README.md": "ours\n"})
    run = execute_branch("bad/conflict", approve=True)
    assert (run.status, run.failure_code) == ("failed", "MERGE_CONFLICT")
    assert "README.md" in run.failure_detail
    assert is_free_and_clean(world)


def test_a_branch_that_is_merged_already_has_nothing_to_ship(world, ready):
    world.commit("feature/old", {"backend/old.txt": "old"})
    run = ready("feature/old")
    operations.approve(run, actor="grace")
    world.git("push", "-q", str(world.remote), "feature/old:main", "--force", cwd=world.clone)
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "NOTHING_TO_SHIP")


def test_a_rejected_push_leaves_nothing_merged(world, ready):
    world.commit("feature/rejected", {"backend/rejected.txt": "no"})
    run = ready("feature/rejected")
    before = world.remote_main()
    with world.hook("pre-receive", "echo 'not today' >&2; exit 1"):
        operations.approve(run, actor="grace")
        execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "DEPLOY_PUSH_FAILED")
    assert "not today" in run.failure_detail
    assert run.artifacts.filter(name="deploy_git_push_log").exists()
    assert world.remote_main() == before
    assert world.git("rev-parse", "main", cwd=world.config.var / "repo.git") == before
    assert world.get(world.config.web_port).status_code == 503  # nothing was ever live here


def test_an_application_without_a_web_process_is_refused_with_file_and_key(world):
    world.commit("bad/manifest", {"oroboros.toml": "[backend]\nhealth = 3\n"})
    run = execute_branch("bad/manifest")
    assert (run.status, run.failure_code) == ("failed", "MANIFEST_INVALID")
    assert "oroboros.toml" in run.failure_detail and "health" in run.failure_detail


def test_a_backend_that_dies_at_once_is_reported_with_its_last_lines(world):
    world.commit("bad/start", {"backend/guestbook/__main__.py": "raise SystemExit('no thanks')\n"})
    run = execute_branch("bad/start")
    assert (run.status, run.failure_code) == ("failed", "BACKEND_UNHEALTHY")
    assert "no thanks" in run.failure_detail
    assert is_free_and_clean(world)


def test_a_new_commit_voids_the_approval_and_is_prepared(world, ready):
    first = world.commit("feature/moving", {"backend/moving.txt": "1"})
    run = ready("feature/moving")
    operations.approve(run, actor="grace", commit_sha=first)
    second = world.commit("feature/moving", {"backend/moving.txt": "2"})
    # A candidate of the first commit had been made when the target branch moved.
    main = world.remote_main()
    Run.objects.filter(pk=run.pk).update(base_sha=main, candidate_sha=first)
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.commit_sha, run.generation) == ("preview_ready", second, 2)
    assert run.approvals.get().voided_at is not None
    assert world.get(world.config.slots[0].web_port).headers["X-Oroboros-Commit"] == second
    assert compute_difference(run, open_repository(world.config)).commit_sha == second
    assert world.remote_main() == main


def test_approving_another_commit_than_the_previewed_one_is_refused(world, ready):
    first = world.commit("feature/unseen", {"backend/unseen.txt": "1"})
    run = ready("feature/unseen")
    with pytest.raises(Refused) as refusal:
        operations.approve(run, actor="grace", commit_sha="1" * 40)
    assert refusal.value.code == "commit_moved"
    run.refresh_from_db()
    assert (run.status, run.commit_sha) == ("preview_ready", first)


def test_canceling_a_preview_frees_its_slot(world, ready):
    world.commit("feature/canceled", {"backend/canceled.txt": "1"})
    run = ready("feature/canceled")
    operations.cancel(run, actor="ada", reason="not needed")
    run.refresh_from_db()
    assert run.status == "canceled"
    assert is_free_and_clean(world)


def test_rejecting_requires_a_reason_and_records_it(world, ready):
    world.commit("feature/no", {"backend/no.txt": "1"})
    run = ready("feature/no")
    with pytest.raises(Refused) as refusal:
        operations.reject(run, actor="grace", reason=" ")
    assert refusal.value.code == "reason_required"
    operations.reject(run, actor="grace", reason="the button is blue")
    run.refresh_from_db()
    assert (run.status, run.failure_detail) == ("rejected", "the button is blue")
    assert run.approvals.get().reason == "the button is blue"
    assert is_free_and_clean(world)


def test_a_retry_is_a_child_of_the_newest_commit(world):
    world.commit("feature/again", {"backend/migrations/0009_bad.sql": BAD_MIGRATION})
    run = execute_branch("feature/again")
    fixed = world.commit("feature/again", {"backend/migrations/0009_bad.sql": "SELECT 1;\n"})
    child = operations.retry(run, actor="ada")
    execution.execute_run(child.pk)
    child.refresh_from_db()
    assert (child.parent_id, child.commit_sha, child.status) == (run.pk, fixed, "preview_ready")


def test_a_release_command_that_fails_on_production_is_no_failed_health_check(small, ships):
    before = ships("release/before")
    with tiny.failing_release(small.config):
        failed = ships("release/after")
    assert (failed.status, failed.failure_code) == ("failed", "MIGRATION_FAILED")
    assert failed.failure_detail.startswith("`release:` on production ended with exit code 1")
    assert "the migration of production fails" in failed.failure_detail
    assert f"git revert -m 1 {failed.candidate_sha}" in failed.next_action
    assert failed.candidate_sha != before.candidate_sha


@pytest.mark.parametrize(
    "breakage",
    [
        {"release.py": "import sys\n\nsys.exit('the table made_by_hand does not exist')\n"},
        {"app.json": '{"scripts": {"postdeploy": "python no_such_seed.py"}}'},
        {"requirements.txt": "=== this is no requirement\n"},
        # An install that is not shared may read every file of the tree.
        {"oroboros.toml": '[backend]\ninstall = "false"\n[checks]\nquick = "true"\n'},
    ],
    ids=["migration", "seed", "install", "install-not-shared"],
)
def test_a_branch_that_repairs_main_is_previewed_and_ships_and_others_name_main(small, breakage):
    before = small.remote_main()
    kept = {name: (small.clone / name) for name in breakage}
    small.commit("main", {"README": before})  # the clone is at main's head
    whole = {name: path.read_text() if path.exists() else None for name, path in kept.items()}
    broken = small.commit("main", breakage)
    number = small.commits()
    small.commit(f"broken/other-{number}", {"other.txt": "a branch like any other"})
    other = execute_branch(f"broken/other-{number}")
    assert (other.status, other.failure_code) == ("failed", "MAIN_BROKEN")
    assert other.failure_detail.startswith(f"main itself ({broken[:12]}) does not install")
    assert "repairs it" in other.next_action
    assert other.artifacts.filter(name="main_log").exists()
    small.commit(f"broken/repair-{number}", whole)
    repair = execute_branch(f"broken/repair-{number}", approve=True)
    assert (repair.status, repair.failure_detail) == ("merged", "")
    # A branch that installs differently needs the database of a main that does not install.
    assert any(note["text"].startswith("main itself") for note in repair.notes)
    small.commit(f"broken/after-{number}", {"after.txt": "main is whole again"})
    after = execute_branch(f"broken/after-{number}")
    assert (after.status, after.notes) == ("preview_ready", [])


@pytest.mark.parametrize(
    ("breakage", "code"),
    [
        ({"pyproject.toml": UNLOCKED, "uv.lock": STALE_LOCK}, "MANIFEST_INVALID"),
        pytest.param({"oroboros.toml": "[backend\n"}, "MANIFEST_INVALID", marks=pytest.mark.full),
        pytest.param({"Procfile": "web: python -c 1\n"}, "COMMAND_REFUSED", marks=pytest.mark.full),
    ],
    ids=["lock-file", "manifest", "command"],
)
def test_a_main_that_is_refused_is_named_and_a_branch_that_corrects_it_ships(small, breakage, code):
    number = small.commits()
    small.commit("main", {"README": str(number)})  # the clone is at main's head
    paths = {name: small.clone / name for name in breakage}
    whole = {name: path.read_text() if path.exists() else None for name, path in paths.items()}
    broken = small.commit("main", breakage)
    small.commit(f"refused/other-{number}", {"other.txt": "a branch like any other"})
    other = execute_branch(f"refused/other-{number}")
    assert (other.status, other.failure_code) == ("failed", code)
    assert f"main itself ({broken[:12]}) is refused for the same reason" in other.failure_detail
    own = {"oroboros.toml": "[frontend\n"}
    small.commit(f"refused/own-{number}", whole | own)
    assert "main itself" not in execute_branch(f"refused/own-{number}").failure_detail
    small.commit(f"refused/repair-{number}", whole)
    repair = execute_branch(f"refused/repair-{number}", approve=True)
    assert (repair.status, repair.failure_detail) == ("merged", "")


BUILT = {"oroboros.toml": '[backend]\nbuild = "sh run.sh"\n'}
CHECKED = {"oroboros.toml": '[checks]\nown = "sh run.sh"\n'}


@pytest.mark.parametrize(
    ("manifest", "approve", "cause"),
    [(BUILT, False, "does not build: "), (CHECKED, True, "fails the check own: ")],
    ids=["build", "check"],
)
def test_a_build_or_a_check_that_main_fails_itself_is_mains_fault(small, manifest, approve, cause):
    number = small.commits()
    whole = (small.clone / "oroboros.toml").read_text()
    broken = small.commit("main", manifest | {"run.sh": "echo it is $((6 * 7)); exit 3\n"})
    small.commit(f"fault/other-{number}", {"other.txt": "a branch like any other"})
    other = execute_branch(f"fault/other-{number}", approve=approve)
    assert (other.status, other.failure_code) == ("failed", "MAIN_BROKEN")
    assert other.failure_detail.startswith(f"main itself ({broken[:12]}) {cause}")
    assert "it is 42" in _read_artifact(small, other, "main_log")
    small.commit(f"fault/repair-{number}", {"run.sh": "true\n"})
    repair = execute_branch(f"fault/repair-{number}", approve=True)
    assert (repair.status, repair.failure_detail) == ("merged", "")
    # Of the commit that was merged here it is known that it passes.
    small.commit(f"fault/own-{number}", {"run.sh": "exit 4\n"})
    own = execute_branch(f"fault/own-{number}", approve=approve)
    assert (own.status, own.failure_code) == (
        "failed",
        "CHECKS_FAILED" if approve else "BUILD_FAILED",
    )
    assert not own.artifacts.filter(name="main_log").exists()
    small.commit("main", {"oroboros.toml": whole, "run.sh": None})


ONLY_PREVIEW = 'case "$FRONTEND_URL" in *.preview*) ;; *) echo it is $((6 * 7)); exit 3;; esac\n'
RELEASED = {"oroboros.toml": '[backend]\nbuild = "sh run.sh"\n', "run.sh": ONLY_PREVIEW}
STARTED = {
    "Procfile": "web: sh run.sh\nrelease: python release.py\n",
    "run.sh": f"{ONLY_PREVIEW}exec python server.py\n",
}


@pytest.mark.parametrize(
    ("breakage", "cause"),
    [(RELEASED, "does not build for production: "), (STARTED, "does not start: ")],
    ids=["build", "start"],
)
def test_a_release_that_main_lacks_itself_is_mains_fault(small, breakage, cause):
    """It passes as a preview, and fails in production's environment."""
    number = small.commits()
    kept = {name: small.clone / name for name in breakage}
    whole = {name: path.read_text() if path.exists() else None for name, path in kept.items()}
    broken = small.commit("main", breakage)
    small.commit(f"fault/other-{number}", {"other.txt": "a branch like any other"})
    other = execute_branch(f"fault/other-{number}", approve=True)
    assert (other.status, other.failure_code) == ("failed", "MAIN_BROKEN")
    assert other.failure_detail.startswith(f"main itself ({broken[:12]}) {cause}")
    assert "it is 42" in _read_artifact(small, other, "main_log")
    assert not Release.objects.filter(commit_sha=broken).exists()
    small.commit(f"fault/repair-{number}", {"run.sh": "exec python server.py\n"} | whole)
    repair = execute_branch(f"fault/repair-{number}", approve=True)
    assert (repair.status, repair.failure_detail) == ("merged", "")


@pytest.mark.full
def test_a_broken_main_is_tried_once_for_each_of_its_commits(small):
    broken = small.commit("main", {"release.py": "raise SystemExit('no table')\n"})
    template = guard.template_name(broken)
    failed = [_preview_another(small) for _ in range(2)]
    assert [run.failure_code for run in failed] == ["MAIN_BROKEN", "MAIN_BROKEN"]
    logs = [_read_artifact(small, run, "database_log") for run in failed]
    assert [f"building {template}" in log for log in logs] == [True, False]
    # The output of the first attempt is on both.
    assert all("no table" in _read_artifact(small, run, "main_log") for run in failed)
    retention.remove_unneeded(small.config)
    template_databases.remove_strays(small.config)
    assert f"building {template}" not in _read_artifact(
        small, _preview_another(small), "database_log"
    )
    with pytest.raises(CommandError, match="no table"):
        call_command("build_template")
    small.commit("main", {"release.py": tiny.RELEASE})
    assert _preview_another(small).status == "preview_ready"
    call_command("build_template")


def _preview_another(world):
    branch = f"another/{world.commits()}"
    world.commit(branch, {"another.txt": branch})
    return execute_branch(branch)


def _read_artifact(world, run, name):
    return (world.config.var / "artifacts" / run.artifacts.get(name=name).path).read_text()
