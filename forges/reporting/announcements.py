"""What the forge should be told of each pull request now, by the rows: see `outbox`.

It is computed anew whenever something happened to the run or to the decision, so that what was not
sent yet is replaced by what is so now, and nothing is lost with a process.
"""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from core.clock import ClockTimestamp, format_minute
from forges.adapters.forge import DeploymentReport, PullRequestState, StatusState
from forges.forge_settings import ForgeSettings
from forges.models import OutgoingMessage, PullRequest
from forges.pull_requests import find_run
from forges.reporting.comment import CommentFacts, Failure, write_comment
from forges.reporting.deployments import DEPLOYMENT, list_deployments
from forges.reporting.stages import (
    DEPLOY,
    MERGE_GATE,
    PREVIEW,
    RunSummary,
    StageState,
    list_stages,
)
from forges.rules import Effect
from host.config import Config
from host.masking.known_secrets import read_masks
from runs import presenters
from runs.mail import messages
from runs.models import Artifact, Event, Run
from runs.pipelines import preview, schema_changes
from runs.rules import FINAL, Status, StepStatus
from runs.screenshots.facts import read_screenshots
from runs.timeline import build_timeline, describe_failure

COMMENT = "comment"
# A pull request that is over is reported on for so long after its run's end.
REPORTED_AFTER_END = timedelta(days=1)
PREVIEW_STEPS = frozenset(step.name for step in preview.STEPS)
DEPLOY_STEPS = frozenset({"push", "deploy", "health"})


def announce(config: Config, forge_settings: ForgeSettings) -> None:
    """Put into the outbox what has changed of each pull request since it was last looked at."""
    for row in _list_reported(forge_settings):
        row.run = find_run(row)
        seen = _compute_seen(row)
        if seen == row.announced:
            continue
        if row.run is not None or row.effect == Effect.HOLD or row.answer:
            OutgoingMessage.objects.replace(row, build_messages(config, forge_settings, row))
        PullRequest.objects.filter(pk=row.pk).update(announced=seen, run=row.run)


def _list_reported(forge_settings: ForgeSettings) -> Iterator[PullRequest]:
    events = Event.objects.filter(run=OuterRef("run")).order_by().values("run")
    kept = Artifact.objects.filter(run=OuterRef("run"), name__startswith=messages.PREFIX)
    mails = kept.order_by().values("run")
    is_recent = Q(run__ended_at=None, run__isnull=False) | Q(
        run__ended_at__gt=ClockTimestamp() - REPORTED_AFTER_END
    )
    rows = PullRequest.objects.filter(
        forge=forge_settings.forge, repository=forge_settings.repository
    )
    yield from (
        rows.filter(Q(state=PullRequestState.OPEN) | is_recent)
        .exclude(effect="")
        .select_related("run")
        .annotate(
            events=Coalesce(Subquery(events.values(count=Count("pk"))), 0),
            mails=Coalesce(Subquery(mails.values(count=Count("pk"))), 0),
        )
    )


def _compute_seen(row: PullRequest) -> str:
    """Return a text that differs as soon as there is something else to report.

    Whatever happens to a run is an event of it, and events are only added; a mail is none.
    """
    counts = (row.events, row.mails)  # type: ignore[attr-defined]
    values = (row.run_id, counts, row.effect, row.reason, row.head_sha, row.answer)
    return hashlib.sha256(repr(values).encode()).hexdigest()


def build_messages(
    config: Config, forge_settings: ForgeSettings, row: PullRequest
) -> dict[str, dict[str, Any]]:
    """Return what the forge should have of the pull request, by the target of each message."""
    run = presenters.select_runs().get(pk=row.run.pk) if row.run is not None else None
    stages = [_describe_hold(row)] if row.effect == Effect.HOLD else []
    sha, url = row.head_sha, f"{config.admin_url}forges/pullrequest/{row.pk}/change/"
    if run is not None and not stages:
        stages = list_stages(summarize_run(run))
        sha, url = run.commit_sha, presenters.build_run_url(config, run.pk)
    masks = read_masks(config)
    found = {
        f"status:{sha}:{stage.context}": {
            "sha": sha,
            "context": stage.context,
            "state": str(stage.state),
            "text": masks.mask(stage.text),
            "url": _choose_url(run, stage) or url,
        }
        for stage in stages
    }
    if run is not None and row.effect != Effect.HOLD and forge_settings.reports_deployments:
        for report in _list_deployments(config, row, run, stages, url):
            target = f"{DEPLOYMENT}{report.sha}:{report.environment}"
            found[target] = asdict(replace(report, text=masks.mask(report.text)))
    text = write_comment(_describe(config, row, run, stages, sha, url))
    return {**found, COMMENT: {"text": masks.mask(text)}}


def _list_deployments(
    config: Config, row: PullRequest, run: Run, stages: list[StageState], url: str
) -> list[DeploymentReport]:
    # The forge has the candidate once it is pushed.
    candidate = run.candidate_sha if run.pushed else ""
    production_url = presenters.build_production_url(config, urlsplit(config.admin_url).netloc)
    return list_deployments(
        stages,
        preview=(run.commit_sha, row.head_branch, presenters.get_frontend_url(run) or ""),
        production=(candidate, row.base_branch, production_url),
        run_url=url,
        number=row.number,
    )


def build_marker(row: PullRequest) -> str:
    """Return the first line of the comment, which no person can know before it is there.

    Without the repository: the comment is found again after the repository was renamed.
    """
    key, subject = settings.SECRET_KEY.encode(), f"{row.forge} {row.number}"
    digest = hmac.new(key, f"comment {subject}".encode(), hashlib.sha256).hexdigest()
    return f"<!-- oroboros {digest[:32]} -->"


def _choose_url(run: Run | None, stage: StageState) -> str:
    """Return the preview's own address for its status while it is served."""
    is_ready = stage.stage == PREVIEW and stage.state == StatusState.SUCCESS
    return (run is not None and is_ready and presenters.get_frontend_url(run)) or ""


def _describe_hold(row: PullRequest) -> StageState:
    return StageState(PREVIEW, StatusState.PENDING, row.reason)


def summarize_run(run: Run) -> RunSummary:
    """Return what of the run decides the states of its stages."""
    steps = {step.name: step.status for step in run.steps.filter(generation=run.generation)}
    failed = next((name for name, at in steps.items() if at == StepStatus.FAILED), "")
    return RunSummary(
        status=run.status,
        was_ready=steps.get(preview.STEPS[-1].name) == StepStatus.SUCCEEDED,
        was_approved=run.approved_at is not None,
        failed_stage=_find_stage(failed) if run.status == Status.FAILED else "",
        failure_code=run.failure_code,
        reason=(run.failure_detail.splitlines() or [""])[0],
        # The forge's rules may ask for its status before the forge merges (SHIP_THROUGH).
        is_verified=steps.get("merge") == StepStatus.SUCCEEDED,
    )


def _find_stage(step: str) -> str:
    if not step:
        return ""
    if step in PREVIEW_STEPS:
        return PREVIEW
    return DEPLOY if step in DEPLOY_STEPS else MERGE_GATE


def _describe(
    config: Config,
    row: PullRequest,
    run: Run | None,
    stages: list[StageState],
    sha: str,
    url: str,
) -> CommentFacts:
    marker = build_marker(row)
    if run is None or row.effect == Effect.HOLD:
        return CommentFacts(
            marker,
            sha,
            row.head_branch,
            run_url=url,
            stages=stages,
            next_action=row.reason,
            answer=row.answer,
        )
    changes = diff.changes if (diff := schema_changes.read_schema_diff(run)) else []
    expiry = presenters.get_expiry(run)
    return CommentFacts(
        marker=marker,
        commit=sha,
        branch=row.head_branch,
        preview_url=presenters.get_frontend_url(run) or "",
        run_url=url,
        expires=format_minute(expiry) if expiry else "",
        stages=stages,
        schema_changes=[one.text for one in changes if not one.is_irreversible],
        irreversible_changes=[one.text for one in changes if one.is_irreversible],
        failure=_describe_failure(run),
        next_action=_describe_next_action(run),
        notes=run.list_notes(),
        screenshot_change=read_screenshots(run).largest_change_text,
        mail_count=messages.count_messages(run),
        answer=row.answer,
    )


def _describe_failure(run: Run) -> Failure | None:
    found = describe_failure(run, build_timeline(run))
    if found is None:
        return None
    return Failure(found["code"], found["cause"], found["detail"], found["lines"])


def _describe_next_action(run: Run) -> str:
    if run.status in FINAL:
        return run.next_action
    if run.status == Status.QUEUED:
        return "Waiting for a slot."
    # Without its position in the merge queue, which changes without an event.
    text = presenters.describe_next_action(run, None, None)
    can_ship = run.status == Status.PREVIEW_READY and not run.stop_status
    if not can_ship or run.merged_in:  # type: ignore[attr-defined]
        return text
    return f"{text}\nTo approve it here, comment: /ship {run.commit_sha[:12]}"
