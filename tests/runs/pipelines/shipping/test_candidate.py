"""The candidate and the probes of what is merged: real repositories, no previews, no production."""

import pytest

from runs.engine.step_errors import PipelineRestart
from runs.models import Run
from runs.pipelines import shipping
from runs.pipelines.candidates import merging
from tests.factories import ApprovalFactory, RunFactory, sha
from tests.runs.pipelines.shipping.test_merge_and_push import MAIN, context, host, run

__all__ = ["context", "host", "run"]
pytestmark = pytest.mark.django_db


def read_candidate(host, run):
    """Return the run's candidate from its row, which its ref must keep."""
    candidate = Run.objects.get(pk=run.pk).candidate_sha
    assert host.repo.resolve_ref(shipping.candidate_ref(run)) == candidate
    return candidate


def test_the_candidate_names_its_approvers_and_is_the_same_when_it_is_made_again(
    host, run, context
):
    last, before = ApprovalFactory(run=run, actor="cleo"), run.candidate_sha
    shipping.make_candidate(context)
    made = read_candidate(host, run)
    assert made != before
    form = "--format=%P|%an|%at|%(trailers:key=Approved-by,valueonly,separator=%x2C)"
    parents, author, at, approvers = host.git("log", "-1", form, made).split("|")
    assert parents.split() == [host.base, run.commit_sha]
    assert (author, int(at), approvers) == ("cleo", int(last.at.timestamp()), "bob,cleo")
    assert context.log.read_text() == f"base {host.base}\n"
    assert Run.objects.get(pk=run.pk).base_sha == host.base == host.our_main()
    host.repo.update_ref(shipping.candidate_ref(run), None, made)
    shipping.make_candidate(context)
    assert read_candidate(host, run) == made


def test_the_candidate_is_made_on_what_the_remote_has_by_then(host, run, context):
    moved = host.commit("moved", host.base)
    host.push(moved)
    shipping.make_candidate(context)
    made = read_candidate(host, run)
    assert host.git("log", "-1", "--format=%P", made).split() == [moved, run.commit_sha]
    assert Run.objects.get(pk=run.pk).base_sha == moved == host.our_main()


def test_main_that_moves_while_the_base_is_determined_restarts_the_pipeline(
    host, run, context, monkeypatch
):
    fetch_target, other = merging.fetch_target, host.commit("other", host.base)
    host.push(host.commit("moved", host.base))

    def fetch_and_move(*arguments):
        found = fetch_target(*arguments)
        assert host.repo.update_ref(MAIN, other, host.base)
        return found

    monkeypatch.setattr(merging, "fetch_target", fetch_and_move)
    with pytest.raises(PipelineRestart) as restart:
        shipping.make_candidate(context)
    assert (restart.value.step, restart.value.reason) == (
        "candidate",
        "main moved while the base was determined",
    )
    assert host.our_main() == other


def test_main_that_moves_while_the_candidate_is_made_restarts_the_pipeline(
    host, run, context, monkeypatch
):
    other, update_run = host.commit("other", host.base), context.update_run

    def update_and_move(**fields):
        update_run(**fields)
        assert host.repo.update_ref(MAIN, other, host.base)

    monkeypatch.setattr(context, "update_run", update_and_move)
    with pytest.raises(PipelineRestart) as restart:
        shipping.make_candidate(context)
    reason = "main moved: a new candidate is created"
    assert (restart.value.step, restart.value.reason) == ("candidate", reason)
    assert host.repo.resolve_ref(shipping.candidate_ref(run)) is None


def test_a_candidate_is_found_on_the_present_main_only(host, run, context):
    found = {"base": host.base, "candidate": run.candidate_sha}
    assert shipping.probe_candidate(context) == found
    host.repo.update_ref(MAIN, host.commit("moved", host.base), host.base)
    assert shipping.probe_candidate(context) is None
    host.repo.update_ref(MAIN, host.base, host.our_main())
    assert shipping.probe_candidate(context) == found
    shipping.delete_candidate_ref(host.repo, run)
    assert shipping.probe_candidate(context) is None
    shipping.delete_candidate_ref(host.repo, run)
    run.candidate_sha = ""
    assert shipping.probe_candidate(context) is None


def test_a_merge_is_found_once_our_main_contains_the_candidate(host, run, context):
    assert shipping.probe_merge(context) is None
    shipping.merge(context)
    assert shipping.probe_merge(context) == {"commit": run.candidate_sha}
    host.repo.update_ref(MAIN, host.commit("later", run.candidate_sha), run.candidate_sha)
    assert shipping.probe_merge(context) == {"commit": run.candidate_sha}
    host.repo.update_ref(MAIN, None, host.our_main())
    assert shipping.probe_merge(context) is None
    run.candidate_sha = ""
    assert shipping.probe_merge(context) is None


def test_a_remote_that_does_not_answer_stops_no_merge_and_is_logged(host, run, context):
    host.remote.rename(host.away)
    shipping.merge(context)
    assert host.our_main() == run.candidate_sha
    assert str(host.remote) in context.log.read_text()


@pytest.mark.parametrize("pushed", [None, True, False])
def test_a_push_is_found_by_the_row_in_the_modes_that_do_not_push(host, context, pushed):
    host.config.environ["MERGE_GATE_GIT_PUSH_MODE"] = "manual"
    context.run.pushed = pushed
    assert shipping.probe_push(context) == ({"pushed": False} if pushed is False else None)


@pytest.mark.parametrize("pushed", [None, False])
def test_a_push_is_found_by_what_the_remote_has(host, run, context, pushed):
    run.pushed = pushed
    host.remote.rename(host.away)
    assert shipping.probe_push(context) is None
    assert str(host.remote) in context.log.read_text()
    host.away.rename(host.remote)
    assert shipping.probe_push(context) is None
    assert Run.objects.get(pk=run.pk).pushed is None
    host.push(run.candidate_sha)
    assert shipping.probe_push(context) == {"pushed": True}
    assert Run.objects.get(pk=run.pk).pushed is True
    host.remote.rename(host.away)
    assert shipping.probe_push(context) == {"pushed": True}


def test_a_remote_without_the_branch_has_no_head_and_is_no_error(host, run):
    host.git("push", "-q", str(host.remote), f":{MAIN}")
    errors = []
    assert shipping.fetch_remote_head(host.config, host.repo, errors.append) is None
    assert errors == []


def test_only_ended_runs_whose_unpushed_commit_main_contains_are_listed(host):
    inside, beyond = host.commit("inside", host.base), host.commit("beyond", host.base)
    host.repo.update_ref(MAIN, inside, host.base)

    def make(status, candidate, pushed):
        return RunFactory(status=status, candidate_sha=candidate, pushed=pushed)

    listed = [make("merged", inside, False), make("failed", host.base, False)]
    make("merged", inside, True)
    make("merged", inside, None)
    make("merged", beyond, False)
    make("merged", sha(1), False)
    make("failed", "", False)
    make("canceled", inside, False)

    def list_runs():
        return {one.pk for one in shipping.list_unpushed_runs(host.config)}

    assert list_runs() == {one.pk for one in listed}
    host.repo.update_ref(MAIN, None, inside)
    assert list_runs() == set()
