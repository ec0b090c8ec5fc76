"""What a run's page shows, gathered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from host.files import safe_files
from releases.deployments import rollback_plan
from releases.models import Activation, Release
from releases.rules import ReleaseStatus, blocking, rollback_command
from runs import presenters
from runs.engine.journal import Action, artifacts_folder
from runs.leasing import queue_status
from runs.models import Artifact, Run, Step
from runs.pipelines import preview, schema_changes, shipping
from runs.rules import FAILURES, StepStatus

EVENTS = 100
LAST_LINES = 30
PATCH_LINES = 4000
LINE_KINDS = (
    ("+++", "file"),
    ("---", "file"),
    ("diff --git", "head"),
    ("@@", "hunk"),
    ("+", "add"),
    ("-", "del"),
)


@dataclass(frozen=True)
class Stage:
    """One line of the timeline: an action of the pipeline and its step, if it was begun."""

    name: str
    status: str
    step: Step | None = None
    log: Artifact | None = None

    @property
    def is_running(self) -> bool:
        return self.status == StepStatus.RUNNING


def context(run: Run, *, is_live: bool) -> dict[str, Any]:
    """Return all of the page; a poll of it (`is_live`) leaves out what git would be asked for."""
    stages = timeline(run)
    position = presenters.positions([run]).get(run.pk)
    line = queue_status.line() if position else None
    return {
        "run": run,
        "children": list(run.children.order_by("created_at")),
        "slot": presenters.slot(run),
        "lease": presenters.lease(run),
        "position": position,
        "estimate": line.estimate(position) if line and position else None,
        "blocked_by": line.holding if line else [],
        "expires_at": presenters.expires_at(run),
        "seconds_left": presenters.seconds_left(run),
        "next_action": presenters.next_action(run, position, presenters.turns([run]).get(run.pk)),
        "frontend_url": presenters.frontend_url(run),
        "backend_url": presenters.backend_url(run),
        "timeline": stages,
        "failure": failure(run, stages),
        "approvals": list(run.approvals.all()),
        "events": list(run.events.all()[:EVENTS]),
        "artifacts": list(run.artifacts.select_related("step")),
        "environment": environment(run),
        "checks": checks(run, stages),
        "schema": schema(run),
        "release": release(run),
        "is_live": is_live,
    }


def timeline(run: Run) -> list[tuple[str, list[Stage]]]:
    """Return the stages of both pipelines, those to come among them."""
    if not run.prepare:
        return []
    steps = {step.name: step for step in run.steps.filter(generation=run.generation)}
    logs = {one.name: one for one in run.artifacts.filter(generation=run.generation)}
    return [
        ("Preview", list(_stages(run, preview.ACTIONS, steps, logs))),
        ("Shipping", list(_stages(run, shipping.ACTIONS, steps, logs))),
    ]


def _stages(
    run: Run, actions: Sequence[Action], steps: dict[str, Step], logs: dict[str, Artifact]
) -> Iterator[Stage]:
    for action in actions:
        step = steps.get(action.name)
        if step is None:
            yield Stage(action.name, "not reached" if run.is_final else "to come")
            continue
        yield Stage(action.name, step.status, step, logs.get(action.log))


def failure(run: Run, stages: list[tuple[str, list[Stage]]]) -> dict[str, Any] | None:
    """Return the code, its cause, the last lines and the log of a run that failed."""
    if not run.failure_code:
        return None
    known = FAILURES.get(run.failure_code)
    failed = [s for _, group in stages for s in group if s.status == StepStatus.FAILED]
    log = failed[-1].log if failed else None
    lines = _last_lines(log)
    return {
        "code": run.failure_code,
        "detail": _without(run.failure_detail, lines),
        "cause": known.cause if known else "",
        "remedy": run.next_action or (known.remedy if known else ""),
        "log": log,
        "lines": lines,
    }


def _without(detail: str, lines: str) -> str:
    """Return the detail without the end of the log, which is shown below it anyway."""
    first, _, rest = detail.partition("\n")
    ends_alike = bool(rest.strip()) and lines.rstrip().endswith(rest.rstrip().rsplit("\n", 1)[-1])
    return first if ends_alike else detail


def _last_lines(log: Artifact | None) -> str:
    if log is None:
        return ""
    return safe_files.read_tail(artifacts_folder(settings.OROBOROS) / log.path, LAST_LINES)


def checks(run: Run, stages: list[tuple[str, list[Stage]]]) -> dict[str, Any] | None:
    """Return how the checks on the candidate stand: their names once they have passed.

    Until then, and where one failed: the commands begun, as the end of the log has them.
    """
    found = [s for _, group in stages for s in group if s.name == "checks" and s.step]
    if not found or found[0].step is None:
        return None
    stage, names = found[0], found[0].step.result.get("checks", [])
    lines = [] if names or stage.log is None else _last_lines_all(stage.log)
    begun = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return {"stage": stage, "names": names, "passed": begun[:-1], "last": begun[-1:]}


def environment(run: Run) -> dict[str, Any] | None:
    """Return what the backend was given, masked, and where each value came from."""
    artifact = run.artifacts.filter(name="environment").order_by("-generation").first()
    if artifact is None:
        return None
    lines = _last_lines_all(artifact)
    values, notes = [], []
    for line in lines:
        name, equals, rest = line.partition("=")
        value, mark, origin = rest.rpartition("  # ")
        if equals and mark:
            values.append({"name": name, "value": value, "origin": origin})
        elif line.strip():
            notes.append(line)
    return {"values": values, "notes": notes}


def _last_lines_all(artifact: Artifact) -> list[str]:
    path = artifacts_folder(settings.OROBOROS) / artifact.path
    return safe_files.read_tail(path, 10_000).splitlines()


def schema(run: Run) -> dict[str, Any] | None:
    """Return what the migrations did to the preview's schema, and both schemas as a patch."""
    found = schema_changes.schema(run)
    if found is None:
        return None
    lines = found.patch
    return {
        "changes": found.changes,
        "patch": [(_kind(line), line) for line in lines[:PATCH_LINES]],
        "is_cut": len(lines) > PATCH_LINES,
    }


def release(run: Run) -> dict[str, Any] | None:
    """Return the release, and the exact way back to what was live before it, while there is one.

    Once something newer is live that way takes it back too (`is_behind`).
    """
    own = run.release
    if own is None:
        return None
    back = _before(own)
    blocked = blocking(rollback_plan.crossing(back)) if back else []
    return {
        "row": own,
        "back": back,
        "is_behind": own.status != ReleaseStatus.LIVE,
        "command": rollback_command(back.pk, accept_schema=bool(blocked)) if back else "",
        "irreversible": blocked,
    }


def _before(own: Release) -> Release | None:
    """Return what was live before that release first was, if it can be and is not live now."""
    if own.status != ReleaseStatus.LIVE and not own.was_healthy:
        return None
    deploys = Activation.objects.filter(release=own).exclude(previous=None)
    activation = deploys.select_related("previous").order_by("number").first()
    back = activation.previous if activation else None
    if back is None or back.status == ReleaseStatus.LIVE:
        return None
    return back if back.was_healthy and back.removed_at is None else None


def patch(difference: presenters.Difference) -> list[dict[str, Any]]:
    """Return the patch by file, its lines with what they are, cut where no reader follows."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(difference.patch.splitlines()):
        if number >= PATCH_LINES:
            break
        kind = _kind(line)
        if kind == "head":
            name = line.rsplit(" b/", 1)[-1]
            is_migration = name in difference.migrations
            found.append({"name": name, "lines": [], "is_migration": is_migration})
        elif found:
            found[-1]["lines"].append((kind, line))
    return found


def _kind(line: str) -> str:
    return next((kind for start, kind in LINE_KINDS if line.startswith(start)), "")
