"""What the newest precheck of a run says, for its page, the approval and the API."""

from dataclasses import dataclass

from django.conf import settings

from runs.engine.artifacts import read_log_end
from runs.models import Artifact, Precheck, Run
from runs.prechecks import rules
from runs.prechecks.rules import PrecheckStatus
from runs.prechecks.steps import LOG_PREFIX

LAST_LINES = 20  # of the failed step's log


@dataclass(frozen=True)
class PrecheckFacts:
    """A precheck, whether it is stale, and the log and its end of a step that failed."""

    row: Precheck
    is_stale: bool
    log: Artifact | None = None
    lines: str = ""

    @property
    def log_name(self) -> str:
        return self.log.name if self.log is not None else ""

    @property
    def checks(self) -> list[str]:
        return self.row.progress.get("checks", [])

    @property
    def passed_commands(self) -> list[str]:
        return self.row.progress.get("passed", [])

    @property
    def running_command(self) -> str:
        return self.row.progress.get("running", "")

    @property
    def has_passed(self) -> bool:
        return self.row.status == PrecheckStatus.PASSED

    @property
    def has_failed(self) -> bool:
        return self.row.status == PrecheckStatus.FAILED


def read_precheck(run: Run, base: str) -> PrecheckFacts | None:
    """Return the newest precheck of the run; None without one.

    `base`: the target branch's commit as last fetched, "" if it is not known.
    """
    row = run.prechecks.first()
    if row is None:
        return None
    is_stale = not row.is_open and rules.is_stale(row.outcome, commit=run.commit_sha, base=base)
    log = _find_log(row) if row.status == PrecheckStatus.FAILED else None
    lines = read_log_end(settings.OROBOROS, log, LAST_LINES) if log is not None else ""
    return PrecheckFacts(row, is_stale, log, lines)


def _find_log(row: Precheck) -> Artifact | None:
    """Return the log of the step at which it failed."""
    name = f"{LOG_PREFIX}{row.step}_log"
    return row.run.artifacts.filter(generation=row.generation, name=name).first()
