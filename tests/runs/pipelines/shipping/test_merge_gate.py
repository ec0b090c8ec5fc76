"""The merge gate checks the candidate, with the target branch's checks and the branch's own."""

from dataclasses import replace

import pytest

from host.app import planning
from releases.models import Release
from runs.lifecycle import execution, operations
from runs.models import Run
from tests.runs.pipelines.shipping import tiny
from tests.runs.pipelines.shipping.processes import OWN, sleepers

NOT_BOTH = """\
import os
import sys

sys.exit("one and two break together" if os.path.exists("one") and os.path.exists("two") else 0)
"""
PAIR = '[checks]\npair = "python pair.py"\n'
USUAL = '[checks]\nquick = "true"\n'
# What is built for a preview has a database; what is built for production has none.
# Builds have the same variables everywhere: a preview's are told by its address.
HANGS = f'case "$FRONTEND_URL" in *.preview*) ;; *) sleep 5050{OWN};; esac\n'


def checks_of(run):
    return run.steps.get(name="checks").result["checks"]


def test_two_branches_that_pass_alone_and_fail_together(small, ready_small):
    small.commit("main", {"pair.py": NOT_BOTH, "oroboros.toml": PAIR})
    one = ready_small("pair/one", {"one": ""})
    two = ready_small("pair/two", {"two": ""})
    for run in (one, two):
        operations.approve(run, actor="grace")
        execution.execute_run(run.pk)
        run.refresh_from_db()
    assert (one.status, two.status, two.failure_code) == ("merged", "failed", "CHECKS_FAILED")
    assert "break together" in two.failure_detail
    assert small.remote_main() == one.candidate_sha
    assert two.base_sha == one.candidate_sha
    small.commit("main", {"pair.py": None, "one": None, "oroboros.toml": USUAL})


def test_a_branch_that_changes_the_checks_runs_both_sets(small, ready_small):
    run = ready_small("checks/own", {"oroboros.toml": '[checks]\nown = "false"\n'})
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "CHECKS_FAILED")
    assert "own ended with exit code 1" in run.failure_detail
    log = small.config.var / "artifacts" / run.artifacts.get(name="checks_log").path
    assert "2 checks" in log.read_text()
    assert "both sets run" in log.read_text()


def test_a_check_whose_folder_the_branch_has_moved_fails(small, ready_small):
    told = '[checks]\ninner = {run = "true", directory = "inner"}\n'
    small.commit("main", {"oroboros.toml": told, "inner/one": ""})
    run = ready_small("checks/moved", {"inner/one": None, "outer/one": "", "oroboros.toml": USUAL})
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "CHECKS_FAILED")
    assert "inner cannot be started" in run.failure_detail
    small.commit("main", {"oroboros.toml": USUAL, "inner/one": None})


def test_accepted_checks_run_in_place_of_the_bases(small, ready_small):
    small.commit("main", {"oroboros.toml": '[checks]\nbroken = "false"\n'})
    fixed = {"oroboros.toml": USUAL}
    run = ready_small("checks/fixed", fixed)
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "MAIN_BROKEN")
    assert "accepts its own checks" in run.next_action
    again = operations.retry(run, actor="ada")
    execution.execute_run(again.pk)
    again.refresh_from_db()
    operations.approve(again, actor="olga", accept_checks=True)
    execution.execute_run(again.pk)
    again.refresh_from_db()
    assert (again.status, checks_of(again)) == ("merged", ["quick"])
    path = small.config.var / "artifacts" / again.artifacts.get(name="checks_log").path
    assert "olga accepted the candidate's checks in place of the base's" in path.read_text()


def test_a_base_without_a_manifest_has_no_checks(small, ready_small):
    told = {"Procfile": None, "oroboros.toml": None, "server.py": None}
    kept = {name: (small.clone / name).read_text() for name in told}
    small.commit("main", told)
    run = ready_small("first/manifest", kept)
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_detail) == ("merged", "")
    assert checks_of(run) == ["quick"]


def test_interrupted_checks_run_again_on_a_new_database(small, harness):
    once = (
        "import pathlib\n"
        "mark = pathlib.Path('dirty')\n"
        "assert not mark.exists(), 'the tree is dirty'\n"
        "mark.touch()\n"
    )
    branch = f"checks/once/{small.commits()}"
    small.commit(branch, {"once.py": once, "oroboros.toml": '[checks]\nonce = "python once.py"\n'})
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    execution.execute_run(run.pk)
    operations.approve(Run.objects.get(pk=run.pk), actor="grace", accept_checks=True)
    assert harness.dies(run, "checks", "recorded")
    harness.expire_claims()
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_detail) == ("merged", "")
    small.commit("main", {"once.py": None, "oroboros.toml": USUAL})


def test_a_production_build_that_takes_too_long_is_a_step_timeout(small, ready_small, monkeypatch):
    plan = planning.make_plan

    def hasty(*words, **options):
        found = plan(*words, **options)
        return replace(found, builds=tuple(replace(one, timeout=1.0) for one in found.builds))

    toml = f'[backend]\nbuild = "sh hangs.sh"\n{USUAL}'
    run = ready_small("hangs/build", {"hangs.sh": HANGS, "oroboros.toml": toml})
    monkeypatch.setattr(planning, "make_plan", hasty)
    main = small.remote_main()
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "STEP_TIMEOUT")
    assert "build backend (sh hangs.sh) took too long" in run.failure_detail
    assert run.steps.get(name="release").status == "failed"
    assert Release.objects.get().status == "failed"
    assert not sleepers(f"5050{OWN}")
    assert small.remote_main() == main


CHANGES_THE_TREE = """\
import os

for name in ("server.py", "made/by-a-check"):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    open(name, "w").write("changed")
"""


@pytest.mark.full
def test_a_check_may_change_the_tree_in_which_release_was_run_sealed(small, ready_small):
    checks = '[checks]\nchanges = "python changes.py"\n'
    files = {"oroboros.toml": checks, "changes.py": CHANGES_THE_TREE, "made/kept": ""}
    run = ready_small("checks/change-the-tree", files)
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_detail) == ("merged", "")
    small.commit("main", {"oroboros.toml": USUAL, "changes.py": None, "made/kept": None})


@pytest.mark.full
def test_release_of_a_template_database_runs_in_a_sealed_tree(small):
    template_only = "import os\nif 'app_template' in os.environ['DATABASE_URL']:\n"
    small.commit("main", {"release.py": f"{template_only}    open('made', 'w')\n"})
    small.commit("template/other", {"other.txt": ""})
    run = operations.create_run(title="other", branch="template/other", actor="ada")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "MAIN_BROKEN")
    assert "made could not be written" in run.failure_detail
    small.commit("main", {"release.py": tiny.RELEASE})
