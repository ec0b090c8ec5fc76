"""Merging a run's pull request on the forge: at exactly its commit, with the forge's words."""

import pytest

from forges.models import PullRequest
from forges.shipping import merging
from host.errors import Refused
from tests.forges.kinds import EACH_API
from tests.forges.test_reporting import make_ready

pytestmark = pytest.mark.django_db
LANDED = "c" * 40


@pytest.fixture(autouse=True)
def no_time(monkeypatch):
    monkeypatch.setattr(merging, "MERGE_SECONDS", 0.0)


@pytest.fixture
def pull(world):
    made = world.pull()
    world.deliver(made)
    return made


@EACH_API
def test_the_forge_merges_the_runs_commit_once(world, pull):
    run = make_ready()
    assert merging.find_merge(world.config, run) == ""
    assert merging.merge(world.config, run) == LANDED
    assert merging.find_merge(world.config, run) == LANDED
    assert pull.state == "merged"


@EACH_API
def test_what_the_forge_refuses_is_refused_with_its_words(world, pull):
    run = make_ready()
    world.forge.refusals = [(405, "At least 1 approving review is required.")]
    with pytest.raises(Refused, match="At least 1 approving review is required"):
        merging.merge(world.config, run)
    assert pull.state == "open"


def test_a_merge_whose_answer_was_lost_is_found(world, pull):
    run = make_ready()

    def merge_and_hang_up(merged):
        merged.state, merged.merge_commit = "merged", LANDED
        raise ConnectionError

    world.forge.on_merge = merge_and_hang_up
    assert merging.merge(world.config, run) == LANDED


def test_a_forge_that_refuses_at_first_is_asked_again(world, pull, monkeypatch):
    monkeypatch.setattr(merging, "MERGE_SECONDS", 30.0)
    monkeypatch.setattr(merging, "TRY_SECONDS", 0.01)
    run = make_ready()
    world.forge.refusals = [(405, "Required status check is expected."), (409, "Try again.")]
    assert merging.merge(world.config, run) == LANDED
    assert world.forge.refusals == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha": "f" * 40}, "was approved"),
        ({"state": "closed"}, "is closed"),
        ({"base": "next"}, "is for next, not for main"),
    ],
)
def test_nothing_but_the_approved_commit_is_merged_into_the_target(world, pull, changes, words):
    run = make_ready()
    pull.later(1, **changes)
    with pytest.raises(Refused, match=words):
        merging.merge(world.config, run)
    assert not pull.merge_commit


@pytest.mark.parametrize("changes", [{"sha": "f" * 40}, {"base": "next"}])
def test_what_was_merged_at_another_commit_or_elsewhere_is_not_the_runs(world, pull, changes):
    run = make_ready()
    pull.later(1, state="merged", merge_commit=LANDED, **changes)
    assert merging.find_merge(world.config, run) == ""
    with pytest.raises(Refused, match="is merged"):
        merging.merge(world.config, run)


def test_a_merge_that_the_forge_does_not_tell_of_is_not_said_to_be_none(world, pull):
    run = make_ready()

    def merge_and_go_away(merged):
        merged.state, merged.merge_commit = "merged", LANDED
        world.forge.is_down = True
        return LANDED

    world.forge.on_merge = merge_and_go_away
    with pytest.raises(Refused, match="Whether the forge has merged it is not known"):
        merging.merge(world.config, run)


def test_a_run_without_a_pull_request_is_refused(world, pull):
    run = make_ready()
    PullRequest.objects.all().delete()
    with pytest.raises(Refused, match="no pull request: open one for feature/reactions"):
        merging.merge(world.config, run)


def test_settings_without_a_token_are_refused(world):
    merging.check(world.config)
    world.configure(FORGE_TOKEN_FILE="")
    with pytest.raises(Refused, match="FORGE_TOKEN_FILE"):
        merging.check(world.config)
