"""The data of a run's page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.html import format_html

from host.files import safe_files
from host.masking.known_secrets import read_masks
from releases.deployments import rollback_plan
from releases.models import Deployment, Release
from releases.rules import ReleaseStatus, format_rollback_command, list_irreversible_changes
from runs import presenters
from runs.admin import mails
from runs.approval_facts import ApprovalFacts, read_approval_facts
from runs.approvals.state import read_state
from runs.engine.artifacts import artifacts_folder
from runs.leasing import queue_status
from runs.mail import messages
from runs.models import Artifact, Run
from runs.pipelines import schema_changes
from runs.pipelines.preview_answer import IDENTITY_PATH
from runs.rules import SHIPPING, Status, StepStatus
from runs.screenshots.facts import read_screenshots
from runs.screenshots.rules import ARTIFACT_PREFIX
from runs.timeline import Stage, build_timeline, describe_failure

ACTIVE_SECONDS, IDLE_SECONDS = 2, 4
EVENTS = 100
OPEN_APPROVALS = (Status.PREPARING, Status.PREVIEW_READY, *SHIPPING)
PATCH_LINES = 4000  # a longer patch makes the page slow, and is in the artifacts
# The panels of the page: name, title, and whether only a run with a preview has it. The names are
# ids, beside those of the stages.
PANELS = (
    ("overview", "Overview", False),
    ("changes", "Changes", False),
    ("logs", "Logs", False),
    ("schema", "Database", True),
    ("environment", "Environment", True),
    ("mail", "Mail", True),
    ("activity", "Activity", False),
)
TRACKER_COLOURS = {
    StepStatus.SUCCEEDED: "bg-green-600",
    StepStatus.FAILED: "bg-red-600",
    StepStatus.RUNNING: "bg-blue-600",
}
LINE_KINDS = (
    ("@@", "hunk"),
    ("+", "add"),
    ("-", "del"),
)


@dataclass(frozen=True)
class Tab:
    """A tab of the page in the form of unfold's template of tabs, which links to `#inline`."""

    inline: str
    title: str
    link: str = ""
    has_permission: bool = True


def list_tabs(run: Run, *, mail_count: int, file_count: int | None) -> dict[str, Tab]:
    """Return the tabs of the run by the name of their panel; without those that it never fills.

    `file_count` is None if it is not known, as in an answer to live.js.
    """
    live = format_html('<span class="oro-count" data-part="mail-count">{}</span>', mail_count or "")
    fixed = format_html('<span class="oro-count">{}</span>', file_count) if file_count else ""
    counts = {"mail": live, "changes": fixed}
    return {
        name: Tab(name, format_html("{} {}", title, counts[name]) if counts.get(name) else title)
        for name, title, needs_preview in PANELS
        if run.prepare or (not needs_preview and (name != "changes" or run.commit_sha))
    }


def summarize_stages(stages: Sequence[Stage]) -> str:
    """Return how far a pipeline is, such as "3 of 9 steps done, build is running"."""
    done = sum(stage.status == StepStatus.SUCCEEDED for stage in stages)
    text = f"{done} of {len(stages)} steps done"
    words = {StepStatus.RUNNING: "is running", StepStatus.FAILED: "has failed"}
    return ", ".join(
        [text, *(f"{one.name} {words[one.status]}" for one in stages if one.status in words)]  # type: ignore[index]
    )


def track_stages(stages: Sequence[Stage]) -> list[dict[str, str]]:
    """Return the stages as unfold's tracker shows them, each with a link to its log."""
    return [
        {
            "href": f"#{stage.name if stage.log else 'logs'}",
            "tooltip": f"{stage.name}: {stage.status}",
            "color": TRACKER_COLOURS.get(stage.status, ""),  # type: ignore[call-overload]
        }
        for stage in stages
    ]


def build_context(run: Run, *, is_live: bool) -> dict[str, Any]:
    """Return the template context. The difference is not part of it: it needs git."""
    stages = build_timeline(run)
    position = presenters.get_queue_positions([run]).get(run.pk)
    queue = queue_status.read_queue_status() if position else None
    return {
        "run": run,
        "children": list(run.children.order_by("created_at")),
        "slot": presenters.get_slot(run),
        "lease": presenters.get_open_lease(run),
        "position": position,
        "forecast": describe_forecast(queue, position),
        "blocked_by": queue.unavailable_slots if queue else [],
        "expires_at": presenters.get_expiry(run),
        "seconds_left": presenters.get_seconds_left(run),
        "next_action": presenters.describe_next_action(
            run, position, presenters.get_merge_queue_entries([run]).get(run.pk)
        ),
        "frontend_url": presenters.get_frontend_url(run),
        "backend_url": presenters.get_backend_url(run),
        "processes": presenters.list_processes(run),
        "preview_check": describe_preview_check(run),
        "timeline": stages,
        "progress": [(name, summarize_stages(one), track_stages(one)) for name, one in stages],
        "failure": describe_failure(run, stages),
        "approvals": list(run.approvals.all()),
        "approval_state": read_state(run) if run.prepare and run.status in OPEN_APPROVALS else None,
        "events": list(run.events.all()[:EVENTS]),
        "older_events": max(0, run.events.count() - EVENTS),
        "artifacts": [
            one
            for one in run.artifacts.select_related("step")
            if not one.name.startswith((messages.PREFIX, ARTIFACT_PREFIX))
        ],
        **describe_mails(run),
        "screenshots": read_screenshots(run) if run.prepare else None,
        # Not `environment`: that is the chip of unfold's head.
        "backend_environment": read_environment(run),
        "checks": describe_checks(run, stages),
        "schema": describe_schema(run),
        "facts": describe_facts(run),
        "release": describe_release(run),
        "is_live": is_live,
        "live_seconds": choose_live_seconds(
            run, has_lease=presenters.get_open_lease(run) is not None
        ),
    }


def describe_facts(run: Run) -> ApprovalFacts | None:
    """Return what a person should know before approving; None once there is nothing to approve."""
    is_open = run.prepare and run.status in (Status.PREPARING, Status.PREVIEW_READY)
    return read_approval_facts(run) if is_open and run.commit_sha else None


def describe_forecast(
    queue: queue_status.QueueStatus | None, position: int | None
) -> dict[str, Any] | None:
    """Return the estimate in seconds, and what a run waits for; None if it waits for no slot."""
    if queue is None or position is None:
        return None
    forecast = queue.forecast_wait(position)
    return {
        "seconds": forecast.seconds,
        "text": forecast.describe(timezone.localdate(queue.at)),
    }


def describe_mails(run: Run) -> dict[str, Any]:
    """Return the messages that the preview sent, and what is not shown of them."""
    shown = mails.list_mails(run)
    count = messages.count_messages(run)
    return {
        "mails": shown,
        "mail_count": count,
        "older_mails": count - len(shown) if len(shown) == mails.LISTED else 0,
        "mail_limit": messages.LIMIT if messages.has_exceeded_limit(run) else "",
    }


def choose_live_seconds(run: Run, *, has_lease: bool) -> int | None:
    """Return after how many seconds the page reloads its parts; None: never.

    Often while something works on the run, seldom while it waits for a person.
    """
    if run.is_final:
        return ACTIVE_SECONDS if has_lease else None
    is_idle = run.status in (Status.PREVIEW_READY, Status.HOLDING) and not run.stop_status
    return IDLE_SECONDS if is_idle else ACTIVE_SECONDS


def describe_preview_check(run: Run) -> dict[str, str] | None:
    """Return where the browser checks that the link shows the run; None while it shows none."""
    url = presenters.get_frontend_url(run)
    if url is None or run.status not in (Status.PREVIEW_READY, *SHIPPING):
        return None
    return {"url": f"{url}{IDENTITY_PATH}", "run": str(run.pk), "commit": run.commit_sha}


def describe_checks(run: Run, stages: list[tuple[str, list[Stage]]]) -> dict[str, Any] | None:
    """Return the checks of the merge candidate; None before they start.

    `names` are set once all have passed. Until then, and after a failure, `passed` and `last` are
    the commands that the journal has: the log has what the checks print, which may be anything.
    """
    stage = next((s for _, group in stages for s in group if s.name == "checks"), None)
    if stage is None or stage.step is None:
        return None
    result = stage.step.result
    last = [result["running"]] if "running" in result else []
    return {
        "stage": stage,
        "names": result.get("checks", []),
        "passed": result.get("passed", []),
        "last": last,
    }


def read_environment(run: Run) -> dict[str, Any] | None:
    """Return the backend's environment, secrets masked, with the source of each value."""
    artifact = run.artifacts.filter(name="environment").order_by("-generation").first()
    if artifact is None:
        return None
    values, notes = [], []
    for line in _read_lines(artifact):
        name, equals, rest = line.partition("=")
        # From the right: the value may contain the separator too.
        value, separator, source = rest.rpartition("  # ")
        if equals and separator:
            values.append({"name": name, "value": value, "source": source})
        elif line.strip():
            notes.append(line)
    return {"values": values, "notes": notes}


def _read_lines(artifact: Artifact) -> list[str]:
    path = artifacts_folder(settings.OROBOROS) / artifact.path
    # At line feeds only: a value may contain what `splitlines` splits at, and forge another one.
    text = safe_files.read_tail(path, 10_000)
    return read_masks(settings.OROBOROS).mask(text).split("\n")


def describe_schema(run: Run) -> dict[str, Any] | None:
    """Return the schema changes of the preview's migrations, and the schemas' patch."""
    diff = schema_changes.read_schema_diff(run)
    if diff is None:
        return None
    lines = diff.patch
    # A unified diff begins with the names of both sides; a later line may look like those.
    heads = [("file", line) for line in lines[:2]]
    rest = [(_classify_line(line), line) for line in lines[2:PATCH_LINES]]
    return {
        "changes": diff.changes,
        "patch": heads + rest,
        "is_cut": len(lines) > PATCH_LINES,
    }


def describe_release(run: Run) -> dict[str, Any] | None:
    """Return the run's release, and the rollback to the release before it, if that is possible.

    `is_behind`: a newer release is live by now, and the rollback would take it back too.
    """
    release = run.release
    if release is None:
        return None
    target = _find_rollback_target(release)
    later = rollback_plan.find_later_migrations(target) if target else []
    irreversible = list_irreversible_changes(later)
    accepted = bool(irreversible)
    return {
        "row": release,
        "rollback_target": target,
        "is_behind": release.status != ReleaseStatus.LIVE,
        "command": format_rollback_command(target.pk, accept_schema=accepted) if target else "",
        "irreversible": irreversible,
    }


def _find_rollback_target(release: Release) -> Release | None:
    """Return the release that was live before `release` first was, if it can go live again."""
    if release.status != ReleaseStatus.LIVE and not release.was_healthy:
        return None
    deployments = Deployment.objects.filter(release=release).exclude(previous=None)
    # The first deployment: later ones may have switched back and forth.
    first = deployments.select_related("previous").order_by("number").first()
    target = first.previous if first else None
    if target is None or target.status == ReleaseStatus.LIVE:
        return None
    return target if target.was_healthy and target.removed_at is None else None


def _classify_line(line: str) -> str:
    return next((kind for start, kind in LINE_KINDS if line.startswith(start)), "")
