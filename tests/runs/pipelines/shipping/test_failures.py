"""Every way in which a branch does not get there: its code, its log, what is left of it."""

import pytest

from host.errors import Refused
from runs import presenters
from runs.lifecycle import operations
from runs.models import Run
from runs.repository import repository
from slots.models import Lease
from slots.rules import LeaseState

BAD_MIGRATION = "ALTER TABLE nobody_made_this ADD COLUMN x int;\n"
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


def carried(branch, approve=False):
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    operations.carry(run.pk)
    if approve:
        run.refresh_from_db()
        operations.approve(run, actor="grace")
        operations.carry(run.pk)
    return Run.objects.get(pk=run.pk)


def test_a_migration_that_fails_ends_the_run_before_anybody_looks(world):
    world.commit("bad/migration", {"backend/migrations/0009_bad.sql": BAD_MIGRATION})
    run = carried("bad/migration")
    assert (run.status, run.failure_code) == ("failed", "MIGRATION_FAILED")
    assert "nobody_made_this" in run.failure_detail
    assert "mend the migration" in run.next_action
    assert run.artifacts.filter(name="migrate_log").exists()
    assert is_free_and_clean(world)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        ("os.makedirs('out'); os.symlink('out', 'dist')", "dist is a link"),
        ("open('dist', 'w').close()", "dist is a link or a file"),
        ("pass", "left no folder frontend/dist"),
        ("os.makedirs('dist/' + 'a/' * 900)", "nested deeper"),
    ],
)
def test_an_output_that_cannot_be_served_is_a_failed_build(world, build, why):
    branch = f"bad/output-{world.commits()}"
    world.commit(branch, {"frontend/build.py": f"import os\n\n{build}\n"})
    run = carried(branch)
    assert (run.status, run.failure_code) == ("failed", "BUILD_FAILED")
    assert why in run.failure_detail
    assert is_free_and_clean(world)


def test_a_build_that_prints_what_no_column_holds_fails_as_any_other(world):
    branch = f"bad/output-{world.commits()}"
    world.commit(branch, {"frontend/build.py": 'print("a\\0b")\nraise SystemExit(1)\n'})
    run = carried(branch)
    assert (run.status, run.failure_code) == ("failed", "BUILD_FAILED")
    assert "a\N{REPLACEMENT CHARACTER}b" in run.failure_detail
    assert is_free_and_clean(world)


def test_checks_that_fail_keep_main_and_production_as_they_are(world):
    world.commit("bad/check", {"backend/tests/test_broken.py": FAILING_TEST})
    before = world.remote_main()
    run = carried("bad/check", approve=True)
    assert (run.status, run.failure_code) == ("failed", "CHECKS_FAILED")
    assert "on purpose" in run.failure_detail
    assert world.remote_main() == before
    assert not list((world.config.var / "gates").iterdir())
    assert is_free_and_clean(world)


def test_a_conflict_names_the_files(world):
    world.commit("bad/conflict", {"README.md": "theirs\n"})
    world.commit("main", {"README.md": "ours\n"})
    run = carried("bad/conflict", approve=True)
    assert (run.status, run.failure_code) == ("failed", "MERGE_CONFLICT")
    assert "README.md" in run.failure_detail
    assert is_free_and_clean(world)


def test_a_branch_that_is_merged_already_has_nothing_to_ship(world, ready):
    world.commit("feature/old", {"backend/old.txt": "old"})
    run = ready("feature/old")
    world.git("push", "-q", str(world.remote), "feature/old:main", "--force", cwd=world.clone)
    operations.approve(run, actor="grace")
    operations.carry(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "NOTHING_TO_SHIP")


def test_a_remote_that_rejects_leaves_nothing_merged(world, ready):
    world.commit("feature/rejected", {"backend/rejected.txt": "no"})
    run = ready("feature/rejected")
    before = world.remote_main()
    with world.hook("pre-receive", "echo 'not today' >&2; exit 1"):
        operations.approve(run, actor="grace")
        operations.carry(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "DEPLOY_PUSH_FAILED")
    assert "not today" in run.failure_detail
    assert run.artifacts.filter(name="deploy_git_push_log").exists()
    assert world.remote_main() == before
    assert world.git("rev-parse", "main", cwd=world.config.var / "repo.git") == before
    assert world.get(world.config.web_port).status_code == 503  # nothing was ever live here


def test_an_application_without_a_way_to_start_is_said_by_file_and_key(world):
    world.commit("bad/manifest", {"oroboros.toml": "[backend]\nhealth = 3\n"})
    run = carried("bad/manifest")
    assert (run.status, run.failure_code) == ("failed", "MANIFEST_INVALID")
    assert "oroboros.toml" in run.failure_detail and "health" in run.failure_detail


def test_a_backend_that_dies_at_once_is_told_with_its_last_lines(world):
    world.commit("bad/start", {"backend/guestbook/__main__.py": "raise SystemExit('no thanks')\n"})
    run = carried("bad/start")
    assert (run.status, run.failure_code) == ("failed", "BACKEND_UNHEALTHY")
    assert "no thanks" in run.failure_detail
    assert is_free_and_clean(world)


def test_a_new_commit_voids_the_approval_and_prepares_anew(world, ready):
    first = world.commit("feature/moving", {"backend/moving.txt": "1"})
    run = ready("feature/moving")
    second = world.commit("feature/moving", {"backend/moving.txt": "2"})
    operations.approve(run, actor="grace", commit_sha=first)
    # A candidate of the first commit had been made when the target branch moved.
    main = world.remote_main()
    Run.objects.filter(pk=run.pk).update(base_sha=main, candidate_sha=first)
    operations.carry(run.pk)
    run.refresh_from_db()
    assert (run.status, run.commit_sha, run.generation) == ("preview_ready", second, 2)
    assert run.approvals.get().voided_at is not None
    assert world.get(world.config.slots[0].web_port).headers["X-Oroboros-Commit"] == second
    assert presenters.difference(run, repository(world.config)).commit_sha == second
    assert world.remote_main() == main


def test_approving_a_commit_that_nobody_looked_at_is_refused(world, ready):
    first = world.commit("feature/unseen", {"backend/unseen.txt": "1"})
    run = ready("feature/unseen")
    with pytest.raises(Refused) as refusal:
        operations.approve(run, actor="grace", commit_sha="0" * 40)
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


def test_rejecting_needs_a_reason_and_keeps_it(world, ready):
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
    run = carried("feature/again")
    mended = world.commit("feature/again", {"backend/migrations/0009_bad.sql": "SELECT 1;\n"})
    child = operations.retry(run, actor="ada")
    operations.carry(child.pk)
    child.refresh_from_db()
    assert (child.parent_id, child.commit_sha, child.status) == (run.pk, mended, "preview_ready")
