"""What a step of a pipeline is, and what it works with: its log, its commands, its run."""

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from django.db import transaction

from core.claims import Claim, ClaimLost
from host import log_message
from host.config import Config
from host.files import log_files, safe_files
from host.masking.known_secrets import read_masks
from host.process import shutdown
from host.process.users import User
from runs.engine import events
from runs.engine.artifacts import write_artifact
from runs.engine.notes import list_new_texts, replace_notes
from runs.engine.step_errors import StepStopped
from runs.models import Run, Step
from runs.rules import Status

# What a probe returns: the step's result if its effect exists, else None.
StepResult = dict[str, Any] | None


@dataclass
class CommandContext:
    """What an application's commands run with: a log, a mark, and whether they are to end."""

    config: Config
    log: Path
    # The value of OROBOROS_JOB in the environment of every process that is started here; by it
    # the processes of a worker that was killed are found and ended.
    job: str

    def is_stopping(self) -> bool:
        """Return whether running commands are to end, as the worker that runs them does."""
        return shutdown.has_begun()

    def raise_if_stopping(self) -> None:
        """Raise StepStopped if the work is to end."""
        if self.is_stopping():
            raise StepStopped

    def write_log(self, text: str) -> None:
        """Append `text` and a line feed to the log, which people read while it grows."""
        # Append mode: commands that run meanwhile write to the same file.
        with self.log.open("a") as file:
            file.write(self.mask(text).rstrip("\n") + "\n")

    def mask(self, text: str) -> str:
        """Return the text without the values of secrets."""
        return read_masks(self.config).mask(text)

    def report(self, text: str) -> None:
        """Say in the log what happens, such as a wait that a person should know of."""
        self.write_log(text)

    def read_log_tail(self, lines: int, since: int = 0) -> str:
        """Return the last lines of the log as a terminal shows them, without secrets.

        `since`: only those after this byte.
        """
        # Of a daemon's output the log has what it printed.
        text = self.mask(safe_files.read_tail(self.log, lines, since))
        return log_message.strip_terminal_codes(text)

    def read_log_message(self, since: int = 0) -> str:
        """Return what the log says about a failure after the byte `since`, for its detail."""
        return self.mask(log_message.read_message(self.log, since))


@dataclass(frozen=True)
class PipelineStep:
    """One step of a pipeline.

    `act` makes the effect; `probe` returns the step's result if the effect exists, else None.
    Both run inside `context_manager`, e.g. a database connection that they share.
    `effect` says what the probe looks for and where, for a failure's detail; `{slot}`, `{commit}`
    and `{candidate}` in it stand for the run's.
    """

    name: str
    act: Callable[["StepContext"], None]
    probe: Callable[["StepContext"], StepResult]
    log_name: str = ""
    context_manager: Callable[["StepContext"], AbstractContextManager[object]] = nullcontext
    # The status that the run moves to when the step begins, and when it succeeds.
    status_on_start: Status | None = None
    status_on_success: Status | None = None
    # Once such a step has begun, requests to stop the run are ignored.
    is_irreversible: bool = False
    effect: str = "the record of its effect"
    # How often the action is taken while its effect is gone at once: a process that it started may
    # be killed before the probe.
    attempts: int = 1

    @property
    def log_artifact(self) -> str:
        """The name of the artifact that is the step's log."""
        return self.log_name or f"{self.name}_log"


@dataclass
class StepContext(CommandContext):
    """What a step works with: the run, its claim, its log, and the results of earlier steps."""

    run: Run
    claim: Claim
    step: PipelineStep
    attempt: int
    # The step's row in the journal; 0 in a precheck, which has no journal.
    step_id: int
    # By the name of the step.
    results: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    # Whether the merge gate runs before the approval (`runs.prechecks`).
    is_precheck: ClassVar[bool] = False

    @property
    def gate_id(self) -> uuid.UUID:
        """What the merge gate's folder, database and release are named for."""
        return self.run.pk

    @property
    def gate_user(self) -> User | None:
        """The user of the merge gate's commands."""
        return self.config.job_user

    def is_stopping(self) -> bool:
        """Return whether the claim is lost, or the run was asked to stop and still can."""
        has_request = self.claim.stop_requested.is_set() and not self.step.is_irreversible
        return has_request or self.claim.is_lost

    def describe_effect(self) -> str:
        """Return what the step's probe looks for, and where."""
        slot = self.results.get("lease", {}).get("slot_id", "")
        run = self.run
        return self.step.effect.format(
            slot=slot, commit=run.commit_sha, candidate=run.candidate_sha
        )

    def update_run(self, **fields: Any) -> None:
        """Write `fields` of the run. Raises ClaimLost, and then writes nothing."""
        if Run.objects.with_valid_claim(self.claim).update(**fields) != 1:
            raise ClaimLost
        for name, value in fields.items():
            setattr(self.run, name, value)

    def record_progress(self, **values: Any) -> None:
        """Show `values` as the step's result until it ends; if it fails they stay.

        Raises ClaimLost, and then writes nothing.
        """
        # The row of the run is locked first, as by all writes of a claim.
        with transaction.atomic():
            if not Run.objects.with_valid_claim(self.claim).select_for_update(no_key=True).first():
                raise ClaimLost
            Step.objects.filter(pk=self.step_id).update(result=values)

    def record_event(self, kind: str, text: str, **data: Any) -> None:
        """Append an event to the run's timeline."""
        events.record_event(kind, text, actor=events.WORKER, run=self.run, **data)

    def report(self, text: str) -> None:
        """Say it in the log and on the run's timeline."""
        super().report(text)
        self.record_event("progress", text)

    def set_notes(self, sentences: Sequence[str], *, topic: str = "") -> None:
        """Replace the notes of `topic` on the run's current commit; a new sentence is an event too.

        The default topic is this step.
        A note names what the application brings that is not honored, or what a reviewer should
        know before approving. Repeating the step with the same notes changes nothing.
        """
        before, topic = self.run.notes, topic or self.step.name
        sentences = [self.mask(sentence) for sentence in sentences]
        notes = replace_notes(before, self.run.generation, topic, sentences)
        if notes == before:
            return
        self.update_run(notes=notes)
        for sentence in list_new_texts(before, notes):
            self.record_event("note", sentence)

    def link_log(self, output: Path) -> None:
        """Make the log a hard link to `output`, the file that a daemon of ours writes to.

        The log grows while the daemon runs, and stays when `output` is removed.
        """
        # The empty file with which every step begins; link(2) does not replace a file.
        self.log.unlink(missing_ok=True)
        # Opening it creates it if the daemon has not yet: a link needs an existing file.
        with log_files.open_append(output):
            os.link(output, self.log)

    def save_artifact(self, name: str, content: str) -> None:
        """Store `content` as the artifact `name` of this step, in place of an earlier one."""
        masked = self.mask(content).encode()
        write_artifact(self.config, self.run, name, masked, step_id=self.step_id or None)
