"""What a pull request leads to: no I/O."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from django.db.models import TextChoices

from forges.adapters.forge import CheckState, PullRequestFacts, PullRequestState
from runs.rules import explain_awaited_checks

SKIP_MARK = "[skip preview]"
MERGED_ELSEWHERE = "MERGED_ELSEWHERE"


class DeliveryDecision(TextChoices):
    """What became of a delivery."""

    QUEUED = "queued"
    ACTED = "acted"
    IGNORED = "ignored"
    FAILED = "failed"


COMMANDS = ("preview", "keep", "cancel", "retry", "ship")
COMMAND_LINE = re.compile(rf"/({'|'.join(COMMANDS)})(?:[ \t]+(\S{{1,80}}))?")
DURATION = re.compile(r"([1-9][0-9]{0,4})(m|min|h|d)")
UNIT_SECONDS = {"m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Command:
    """A command in a comment, such as `/keep 8h`."""

    name: str
    argument: str = ""


def parse_command(text: str) -> Command | None:
    """Return the command that the comment's first line is; None if it is none."""
    first, *_ = [*text.strip().splitlines(), ""]
    match = COMMAND_LINE.fullmatch(first.strip())
    return Command(match[1], match[2] or "") if match else None


def parse_duration(text: str) -> int | None:
    """Return the seconds of a duration such as 30m, 8h or 2d; None for another text."""
    match = DURATION.fullmatch(text.lower())
    return int(match[1]) * UNIT_SECONDS[match[2]] if match else None


class Effect(StrEnum):
    """What is done about a pull request now."""

    START = "start"  # a run for its branch, or for the commit that an operator allowed
    FOLLOW = "follow"  # the run is restarted at the head
    END = "end"  # the run is canceled
    HOLD = "hold"  # an operator must allow the commit first
    LEAVE = "leave"  # as it is


@dataclass(frozen=True)
class Decision:
    """An effect, the reason as a sentence, and the failure code with which a run ends."""

    effect: Effect
    reason: str
    failure_code: str = ""


@dataclass(frozen=True)
class Policy:
    """PREVIEW_PULL_REQUESTS, PREVIEW_LABEL, and the target branch."""

    pull_requests: str
    label: str
    target_branch: str


@dataclass(frozen=True)
class RunFacts:
    """The pull request's latest run. `is_ours`: it was made for the pull request.

    `is_bound`: it is of a commit and follows no branch. `can_stop`: its merge has not begun.
    """

    status: str
    commit_sha: str
    is_open: bool
    is_ours: bool
    is_approved: bool
    is_bound: bool
    can_stop: bool


@dataclass(frozen=True)
class Trust:
    """Whether the author may write to the repository, and the commit that an operator allowed."""

    has_access: bool
    allowed_sha: str = ""


def decide(
    facts: PullRequestFacts,
    policy: Policy,
    run: RunFacts | None,
    trust: Trust,
    *,
    is_request: bool,
    is_commanded: bool = False,
) -> Decision:
    """Return what to do about a pull request in this state.

    `is_request`: a preview was asked for just now, so that a commit whose run has ended gets
    a new one. `is_commanded` as in `find_reason_against`.
    """
    if facts.state != PullRequestState.OPEN:
        return _decide_ended(facts, run)
    if reason := find_reason_against(facts, policy, is_commanded=is_commanded):
        return _decide_unwanted(reason, run)
    if needs_permission(facts, trust):
        who = "of a fork" if facts.is_fork else "by an author without write access"
        reason = f"It is {who}: an operator must allow the commit {facts.head_sha[:12]} first."
        return Decision(Effect.HOLD, reason)
    return _decide_wanted(facts, run, is_request=is_request)


def find_reason_against(
    facts: PullRequestFacts, policy: Policy, *, is_commanded: bool = False
) -> str:
    """Return why the policy wants no preview of an open pull request; "" if it wants one.

    `is_commanded`: a comment with /preview asked for it, whatever the policy says.
    """
    if facts.base_branch != policy.target_branch:
        return f"It is for {facts.base_branch}; runs are merged into {policy.target_branch}."
    if is_commanded:
        return ""
    if policy.pull_requests == "none":
        return "PREVIEW_PULL_REQUESTS is none: pull requests start no previews."
    if SKIP_MARK in f"{facts.title}\n{facts.body}".lower():
        return f"Its title or text has {SKIP_MARK}."
    if policy.label in facts.labels:
        return ""
    if policy.pull_requests == "label":
        return f"It does not have the label {policy.label}."
    return "It is a draft." if facts.is_draft else ""


def matches_paths(changed: Iterable[str], patterns: Sequence[str]) -> bool:
    """Return whether a changed file is, or lies below, one of the patterns.

    `*` stands for any characters, `/` included. Without patterns every change matches.
    """
    return not patterns or any(
        fnmatchcase(path, pattern) or path.startswith(pattern.rstrip("/*") + "/")
        for path in changed
        for pattern in patterns
    )


def find_reason_to_wait(
    author: str,
    open_previews: int,
    limit: int,
    required: Iterable[str],
    checks: Mapping[str, CheckState],
) -> str:
    """Return why a preview that is wanted does not start yet; "" if it does.

    `open_previews`: those of the author's other pull requests. `limit` 0: any number.
    """
    if limit and open_previews >= limit:
        return f"{author} has {open_previews} previews already (PREVIEW_PER_AUTHOR): it waits."
    return explain_missing_checks("PREVIEW_REQUIRED_CHECKS", required, checks)


def explain_missing_checks(
    setting: str, required: Iterable[str], checks: Mapping[str, CheckState]
) -> str:
    """Return which required checks have not succeeded; "" if all have."""
    missing = [one for one in required if checks.get(one) != CheckState.SUCCESS]
    if not missing:
        return ""
    states = ", ".join(f"{one} ({checks.get(one, 'not there')})" for one in missing)
    return explain_awaited_checks(setting, states)


def needs_permission(facts: PullRequestFacts, trust: Trust) -> bool:
    """Return whether an operator must allow the head before its code runs here."""
    is_trusted = trust.has_access and not facts.is_fork
    return not is_trusted and trust.allowed_sha != facts.head_sha


def _decide_ended(facts: PullRequestFacts, run: RunFacts | None) -> Decision:
    is_merged = facts.state == PullRequestState.MERGED
    how = "was merged on the forge" if is_merged else "was closed"
    if run is None or not run.is_open:
        return Decision(Effect.LEAVE, f"It {how}; it has no open run.")
    if not run.can_stop:
        return Decision(Effect.LEAVE, f"It {how}; its run ships, and is finished.")
    return Decision(Effect.END, f"The pull request {how}.", MERGED_ELSEWHERE if is_merged else "")


def _decide_unwanted(reason: str, run: RunFacts | None) -> Decision:
    # A run that a person made for the branch, or approved, is not the policy's to end.
    is_policys = run is not None and run.is_open and run.is_ours and not run.is_approved
    return Decision(Effect.END if is_policys else Effect.LEAVE, reason)


def _decide_wanted(facts: PullRequestFacts, run: RunFacts | None, *, is_request: bool) -> Decision:
    head = facts.head_sha[:12]
    if run is None:
        return Decision(Effect.START, f"A run of {head} is started.")
    is_at_head = run.commit_sha == facts.head_sha
    if run.is_open and is_at_head:
        return Decision(Effect.LEAVE, f"Its run is at {head} already.")
    if run.is_open and not run.can_stop:
        return Decision(Effect.LEAVE, "Its run ships an earlier commit, and is finished first.")
    if run.is_open and not run.is_bound:
        return Decision(Effect.FOLLOW, f"Its run follows to {head}.")
    if not is_at_head:
        return Decision(Effect.START, f"A run of the new commit {head} is started.")
    if is_request and run.status != "merged":
        return Decision(Effect.START, f"A new run of {head} is started.")
    return Decision(Effect.LEAVE, f"The run of {head} has ended: it is {run.status}.")
