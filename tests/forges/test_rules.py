"""The decisions about a pull request, as values."""

from datetime import UTC, datetime

import pytest

from forges.adapters.forge import PullRequestFacts, PullRequestState
from forges.rules import (
    Command,
    Effect,
    Policy,
    RunFacts,
    Trust,
    decide,
    find_reason_against,
    matches_paths,
    parse_command,
    parse_duration,
)

HEAD, OLD = "a" * 40, "b" * 40
LABEL = Policy("label", "preview", "main")
ALL = Policy("all", "preview", "main")
NONE = Policy("none", "preview", "main")
TRUSTED = Trust(has_access=True)
STRANGER = Trust(has_access=False)


def facts(**fields):
    values = {
        "number": 12,
        "title": "Add reactions",
        "body": "",
        "url": "",
        "author": "alice",
        "head_branch": "feature/reactions",
        "head_sha": HEAD,
        "base_branch": "main",
        "is_fork": False,
        "is_draft": False,
        "state": PullRequestState.OPEN,
        "labels": ("preview",),
        "updated_at": datetime(2026, 11, 28, tzinfo=UTC),
    }
    return PullRequestFacts(**{**values, **fields})


def run(**fields):
    values = {
        "status": "preview_ready",
        "commit_sha": HEAD,
        "is_open": True,
        "is_ours": True,
        "is_approved": False,
        "is_bound": False,
        "can_stop": True,
    }
    return RunFacts(**{**values, **fields})


ENDED = run(status="failed", is_open=False)
CLOSED, MERGED = {"state": PullRequestState.CLOSED}, {"state": PullRequestState.MERGED}


@pytest.mark.parametrize(
    ("described", "policy", "found", "trust", "effect"),
    [
        ({}, LABEL, None, TRUSTED, Effect.START),
        ({"labels": ()}, LABEL, None, TRUSTED, Effect.LEAVE),
        ({"labels": ("bug",)}, LABEL, None, TRUSTED, Effect.LEAVE),
        ({"labels": ()}, ALL, None, TRUSTED, Effect.START),
        ({}, NONE, None, TRUSTED, Effect.LEAVE),
        # A draft waits, unless the label asks for its preview.
        ({"labels": (), "is_draft": True}, ALL, None, TRUSTED, Effect.LEAVE),
        ({"is_draft": True}, ALL, None, TRUSTED, Effect.START),
        ({"is_draft": True}, LABEL, None, TRUSTED, Effect.START),
        ({"title": "Typo [Skip Preview]"}, ALL, None, TRUSTED, Effect.LEAVE),
        ({"body": "no need\n[skip preview]"}, LABEL, None, TRUSTED, Effect.LEAVE),
        ({"base_branch": "release"}, ALL, None, TRUSTED, Effect.LEAVE),
        # Retargeted, unlabelled, converted to a draft: its run ends, but no approved one.
        ({"base_branch": "release"}, ALL, run(), TRUSTED, Effect.END),
        ({"labels": ()}, LABEL, run(), TRUSTED, Effect.END),
        ({"labels": (), "is_draft": True}, ALL, run(), TRUSTED, Effect.END),
        ({"labels": ()}, LABEL, run(is_approved=True), TRUSTED, Effect.LEAVE),
        ({"labels": ()}, LABEL, run(is_ours=False), TRUSTED, Effect.LEAVE),
        # A new head.
        ({}, LABEL, run(commit_sha=OLD), TRUSTED, Effect.FOLLOW),
        ({}, LABEL, run(), TRUSTED, Effect.LEAVE),
        ({}, LABEL, run(commit_sha=OLD, can_stop=False), TRUSTED, Effect.LEAVE),
        ({}, LABEL, run(commit_sha=OLD, is_open=False, status="failed"), TRUSTED, Effect.START),
        ({}, LABEL, ENDED, TRUSTED, Effect.LEAVE),
        # Closed and merged.
        (CLOSED, LABEL, run(), TRUSTED, Effect.END),
        (CLOSED, LABEL, run(is_ours=False), TRUSTED, Effect.END),
        (CLOSED, NONE, run(is_approved=True), STRANGER, Effect.END),
        (CLOSED, LABEL, ENDED, TRUSTED, Effect.LEAVE),
        (CLOSED, LABEL, None, TRUSTED, Effect.LEAVE),
        (MERGED, LABEL, run(), TRUSTED, Effect.END),
        (MERGED, LABEL, run(can_stop=False), TRUSTED, Effect.LEAVE),
        # Forks and outside contributors.
        ({"is_fork": True}, ALL, None, TRUSTED, Effect.HOLD),
        ({}, ALL, None, STRANGER, Effect.HOLD),
        ({"is_fork": True}, ALL, None, Trust(has_access=True, allowed_sha=OLD), Effect.HOLD),
        ({"is_fork": True}, ALL, None, Trust(has_access=False, allowed_sha=HEAD), Effect.START),
        ({"is_fork": True, "labels": ()}, LABEL, None, STRANGER, Effect.LEAVE),
        (
            {"is_fork": True}, ALL, run(commit_sha=OLD, is_bound=True),
            Trust(has_access=False, allowed_sha=HEAD), Effect.START,
        ),
    ],
)  # fmt: skip
def test_a_pull_request_in_a_state_leads_to(described, policy, found, trust, effect):
    decision = decide(facts(**described), policy, found, trust, is_request=False)
    assert decision.effect == effect, decision
    assert decision.reason.endswith((".", "first."))


def test_a_run_that_has_ended_is_repeated_only_when_asked_for():
    assert decide(facts(), LABEL, ENDED, TRUSTED, is_request=True).effect == Effect.START
    merged = run(status="merged", is_open=False)
    assert decide(facts(), LABEL, merged, TRUSTED, is_request=True).effect == Effect.LEAVE


def test_a_run_whose_pull_request_was_merged_elsewhere_has_that_code():
    decision = decide(facts(**MERGED), LABEL, run(), TRUSTED, is_request=False)
    assert decision.failure_code == "MERGED_ELSEWHERE"
    assert decide(facts(**CLOSED), LABEL, run(), TRUSTED, is_request=False).failure_code == ""


@pytest.mark.parametrize(
    ("changed", "patterns", "expected"),
    [
        (["a"], [], True),
        ([], [], True),
        ([], ["frontend"], False),
        (["frontend/src/app.js"], ["frontend"], True),
        (["frontend/src/app.js"], ["frontend/"], True),
        (["frontend/src/app.js"], ["frontend/**"], True),
        (["frontend2/app.js"], ["frontend"], False),
        (["docs/a.md", "backend/shop/models.py"], ["backend/*.py"], True),
        (["backend/README.md"], ["backend/*.py"], False),
        (["Procfile"], ["frontend", "Procfile"], True),
    ],
)
def test_paths_select_changes(changed, patterns, expected):
    assert matches_paths(changed, patterns) is expected


@pytest.mark.parametrize(
    ("described", "policy", "is_wanted"),
    [
        ({"labels": ()}, NONE, True),
        ({"labels": ()}, LABEL, True),
        ({"labels": (), "is_draft": True}, ALL, True),
        ({"title": "[skip preview]"}, ALL, True),
        ({"base_branch": "release"}, ALL, False),
    ],
)
def test_a_commanded_preview_is_wanted_whatever_the_policy_says_of_the_target_branch(
    described, policy, is_wanted
):
    reason = find_reason_against(facts(**described), policy, is_commanded=True)
    assert (reason == "") is is_wanted
    decision = decide(facts(**described), policy, None, TRUSTED, is_request=True, is_commanded=True)
    assert decision.effect == (Effect.START if is_wanted else Effect.LEAVE)


@pytest.mark.parametrize("is_request", [False, True])
@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ({}, Effect.LEAVE),
        ({"can_stop": False}, Effect.LEAVE),
        ({"commit_sha": OLD}, Effect.FOLLOW),
        ({"commit_sha": OLD, "is_bound": True}, Effect.START),
        ({"commit_sha": OLD, "is_bound": True, "can_stop": False}, Effect.LEAVE),
        ({"commit_sha": OLD, "is_open": False, "status": "merged"}, Effect.START),
        ({"commit_sha": OLD, "is_open": False, "is_bound": True}, Effect.START),
    ],
)
def test_an_open_run_follows_the_head_unless_it_ships_or_is_bound_to_a_commit(
    fields, effect, is_request
):
    assert decide(facts(), ALL, run(**fields), TRUSTED, is_request=is_request).effect == effect


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m", 60), ("1min", 60), ("8h", 28_800), ("2d", 172_800), ("2D", 172_800),
        ("99999m", 5_999_940), ("100000m", None), ("0m", None), ("01h", None), ("h", None),
        ("8", None), ("8s", None), ("-1h", None), ("1.5h", None), ("8h ", None), ("", None),
    ],
)  # fmt: skip
def test_a_duration_is_a_number_of_minutes_hours_or_days(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/preview", Command("preview")),
        (" \n/keep \t 8h \r\nthanks", Command("keep", "8h")),
        ("/keep " + "x" * 79, Command("keep", "x" * 79)),
        ("/keep " + "x" * 80, Command("keep", "x" * 80)),
        ("/keep " + "x" * 81, None),
        ("/keep 8h now", None),
        ("/deploy", None),
        ("/shipping", None),
        ("please\n/ship", None),
        ("", None),
    ],
)
def test_a_command_is_the_first_line_of_a_comment(text, command):
    assert parse_command(text) == command
