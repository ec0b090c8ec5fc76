"""Landing by a merge on the forge: what landed becomes the candidate, also after a crash."""

from types import SimpleNamespace

import pytest

from host.errors import Refused
from host.git.bare_repository import Repository
from runs import landing
from runs.engine.step_errors import PipelineRestart, StepFailed
from runs.lifecycle import execution, finish, operations
from runs.models import Run
from runs.pipelines import shipping
from runs.repository import check_settings
from tests.runs.pipelines.shipping.test_merge_and_push import context, host, run

__all__ = ["context", "host", "run"]
pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """The process ends here."""


class Forge:
    """A forge that makes a merge commit of its own."""

    def __init__(self, host, run):
        self.host, self.run, self.landed, self.merges = host, run, "", 0
        self.refusal, self.is_killing, self.more = "", False, ()

    def check(self, config):
        """Every setting is right."""

    def find_merge(self, config, run):
        return self.landed

    def merge(self, config, run):
        if self.refusal:
            raise Refused("forge_failed", self.refusal)
        self.merges += 1
        # The files of the candidate, or those of another base.
        files = self.host.commit(*self.more, run.candidate_sha) if self.more else run.candidate_sha
        tree = self.host.git("rev-parse", f"{files}^{{tree}}")
        parents = ("-p", run.base_sha, "-p", run.commit_sha)
        self.landed = self.host.git("commit-tree", tree, *parents, "-m", "Merge pull request #1")
        self.host.push(self.landed)
        if self.is_killing:
            raise Killed
        return self.landed


@pytest.fixture
def forge(host, run, monkeypatch):
    made = Forge(host, run)
    host.config.environ["SHIP_THROUGH"] = "pull-request"
    monkeypatch.setattr(landing, "get_merger", lambda: made)
    return made


def go_on(context):
    """Execute the steps from the candidate to the push again, as the pipeline does."""
    context.run.refresh_from_db()
    shipping.make_candidate(context)
    assert shipping.probe_candidate(context)
    shipping.merge(context)
    shipping.push(context)


def test_what_landed_is_verified_and_shipped_as_the_candidate(host, run, context, forge):
    shipping.merge(context)
    with pytest.raises(PipelineRestart, match="with the files that were verified") as restart:
        shipping.push(context)
    assert restart.value.step == "candidate"
    assert host.our_main() == host.base
    asked, landed = run.events.order_by("pk").values_list("kind", "text", "data")
    assert asked == ("progress", "the forge is asked to merge the pull request", {})
    text = f"the forge merged it as {forge.landed[:12]}, with the files that were verified"
    assert landed == (landing.LANDED, text, {"commit": forge.landed, "head": run.commit_sha})
    go_on(context)
    assert (run.candidate_sha, run.base_sha) == (forge.landed, host.base)
    assert host.our_main() == host.remote_main() == forge.landed
    assert (run.pushed, forge.merges) == (True, 1)
    assert shipping.probe_push(context) == {"pushed": True}


def test_a_worker_that_is_killed_between_merge_and_record_merges_once(host, run, context, forge):
    shipping.merge(context)
    forge.is_killing = True
    with pytest.raises(Killed):
        shipping.push(context)
    assert landing.find_landed(run) == ""
    assert shipping.probe_push(context) is None
    with pytest.raises(PipelineRestart, match="the forge merged it"):
        shipping.push(context)
    go_on(context)
    assert (host.our_main(), forge.merges) == (forge.landed, 1)


def test_what_the_forge_refuses_fails_the_push_with_its_words(host, run, context, forge):
    shipping.merge(context)
    forge.refusal = "At least 1 approving review is required."
    with pytest.raises(StepFailed, match="At least 1 approving review") as failed:
        shipping.push(context)
    assert failed.value.code == "DEPLOY_PUSH_FAILED"
    assert (host.our_main(), host.remote_main()) == (host.base, host.base)


def test_a_merge_that_cannot_be_fetched_is_named(host, run, context, forge, monkeypatch):
    shipping.merge(context)

    def refuse(*arguments, **options):
        raise Refused("remote_failed", "The remote does not answer.")

    merge = forge.merge

    def merge_and_cut(config, run):
        landed = merge(config, run)
        monkeypatch.setattr(Repository, "fetch", refuse)
        return landed

    monkeypatch.setattr(forge, "merge", merge_and_cut)
    with pytest.raises(StepFailed) as failed:
        shipping.push(context)
    assert failed.value.code == "DEPLOY_PUSH_FAILED"
    assert failed.value.detail.startswith(f"The forge merged it as {forge.landed[:12]}; nothing is")
    assert host.our_main() == host.base


def test_other_files_than_the_verified_ones_are_verified_before_they_ship(
    host, run, context, forge
):
    shipping.merge(context)
    forge.more = ("more",)
    with pytest.raises(PipelineRestart, match="with other files, which are verified now"):
        shipping.push(context)
    go_on(context)
    assert run.candidate_sha == forge.landed


def test_a_target_that_moved_after_the_merge_is_deployed_as_it_is(host, run, context, forge):
    shipping.merge(context)
    with pytest.raises(PipelineRestart):
        shipping.push(context)
    later = host.commit("later", forge.landed)
    host.push(later)
    go_on(context)
    assert (run.candidate_sha, run.base_sha) == (later, later)


def test_a_target_that_moved_before_the_merge_makes_a_new_candidate(host, run, context, forge):
    shipping.merge(context)
    host.push(host.commit("moved", host.base))
    with pytest.raises(PipelineRestart, match="the remote's main moved"):
        shipping.push(context)
    assert (forge.merges, host.our_main()) == (0, host.base)


def test_a_run_that_landed_is_finished(host, run, context, forge):
    assert not finish.is_too_late_to_stop(run)
    shipping.merge(context)
    with pytest.raises(PipelineRestart):
        shipping.push(context)
    assert finish.is_too_late_to_stop(run)
    # Its retry lands nothing again: it deploys what is there.
    child = Run.objects.create(
        title="again", commit_sha=run.commit_sha, parent=run, created_at=run.created_at
    )
    assert landing.find_landed(child) == forge.landed
    child.commit_sha = "f" * 40
    assert landing.find_landed(child) == ""


def test_a_setting_that_cannot_be_followed_is_refused_before_anything_is_merged(host, forge):
    check_settings(host.config)
    host.config.environ["MERGE_GATE_GIT_PUSH_MODE"] = "manual"
    with pytest.raises(Refused, match="needs MERGE_GATE_GIT_PUSH_MODE=auto"):
        check_settings(host.config)
    landing_settings = SimpleNamespace(get_choice=lambda name: "push")
    assert not landing.is_through_forge(landing_settings)


@pytest.mark.full
@pytest.mark.django_db(transaction=True)
def test_a_run_ships_through_the_forge_and_the_release_is_of_what_landed(
    small, ready_small, monkeypatch
):
    """The whole pipeline, on real processes."""

    class Merger:
        landed = ""

        def check(self, config):
            """Every setting is right."""

        def find_merge(self, config, run):
            return self.landed

        def merge(self, config, run):
            small.git("fetch", "-q", "origin", cwd=small.clone)
            small.git("checkout", "-q", "-B", "forge", "origin/main", cwd=small.clone)
            small.git("merge", "-q", "--no-ff", "-m", "Merge #1", run.commit_sha, cwd=small.clone)
            small.git("push", "-q", "origin", "forge:main", cwd=small.clone)
            self.landed = small.remote_main()
            return self.landed

    small.config.environ["SHIP_THROUGH"] = "pull-request"
    monkeypatch.setattr(landing, "get_merger", lambda: merger)
    merger = Merger()
    try:
        ready_run = ready_small("landing")
        operations.approve(ready_run, actor="grace")
        execution.execute_run(ready_run.pk)
    finally:
        del small.config.environ["SHIP_THROUGH"]
    ended = Run.objects.get(pk=ready_run.pk)
    assert ended.status == "merged", (ended.failure_code, ended.failure_detail)
    assert ended.candidate_sha == merger.landed == small.remote_main()
    assert ended.release.commit_sha == merger.landed
    assert ended.pushed is True
