"""The stages of a run's pipelines with their logs, and its failure: for its page and for forges."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.urls import reverse

from runs.engine.artifacts import read_log_end
from runs.engine.step_context import PipelineStep
from runs.models import Artifact, Run, Step
from runs.pipelines import preview, shipping
from runs.rules import FAILURES, StepStatus
from web.templatetags.presentation import first_line

LAST_LINES = 30  # of the failed step's log


@dataclass(frozen=True)
class Stage:
    """One step of a pipeline on the timeline; `step` is None until it has started."""

    name: str
    status: str
    step: Step | None = None
    log: Artifact | None = None

    @property
    def is_running(self) -> bool:
        return self.status == StepStatus.RUNNING

    @property
    def is_open(self) -> bool:
        """Whether its log is what a person looks for."""
        return self.status in (StepStatus.RUNNING, StepStatus.FAILED)

    @property
    def log_url(self) -> str:
        """The address of the log's content. The page shows it with links to its lines."""
        if self.log is None:
            return ""
        address = reverse("api-run-artifact", args=[self.log.run_id, self.log.name])
        return f"{address}?generation={self.log.generation}"


def build_timeline(run: Run) -> list[tuple[str, list[Stage]]]:
    """Return the stages of both pipelines, including those that have not started."""
    if not run.prepare:
        return []
    steps = {step.name: step for step in run.steps.filter(generation=run.generation)}
    logs = {artifact.name: artifact for artifact in run.artifacts.filter(generation=run.generation)}
    return [
        ("Preview", list(_stages(run, preview.STEPS, steps, logs))),
        ("Shipping", list(_stages(run, shipping.STEPS, steps, logs))),
    ]


def _stages(
    run: Run, actions: Sequence[PipelineStep], steps: dict[str, Step], logs: dict[str, Artifact]
) -> Iterator[Stage]:
    for action in actions:
        step = steps.get(action.name)
        if step is None:
            yield Stage(action.name, "not reached" if run.is_final else "not started")
            continue
        yield Stage(action.name, step.status, step, logs.get(action.log_artifact))


def describe_failure(run: Run, stages: list[tuple[str, list[Stage]]]) -> dict[str, Any] | None:
    """Return code, cause, remedy, stage and last log lines of a failed run, else None."""
    if not run.failure_code:
        return None
    known = FAILURES.get(run.failure_code)
    failed = [s for _, group in stages for s in group if s.status == StepStatus.FAILED]
    log = failed[-1].log if failed else None
    lines = read_log_end(settings.OROBOROS, log, LAST_LINES) if log is not None else ""
    return {
        "code": run.failure_code,
        "detail": _remove_log_tail(run.failure_detail, lines),
        "cause": known.cause if known else "",
        "remedy": run.next_action or (known.remedy if known else ""),
        "stage": failed[-1].name if failed else "",
        "lines": lines,
    }


def _remove_log_tail(detail: str, lines: str) -> str:
    """Return the first line of the detail if the rest repeats the end of the log."""
    rest = detail.partition("\n")[2]
    ends_alike = bool(rest.strip()) and lines.rstrip().endswith(rest.rstrip().rsplit("\n", 1)[-1])
    return first_line(detail) if ends_alike else detail
