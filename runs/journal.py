"""The engine: carries a claimed run through its steps, and writes down what it does.

Every step is probe → act → probe: before acting it is asked whether its effect is there; after a
crash the same question decides. Every write names the claim's fence, so a process that lost its
claim writes nothing. See `design.md`'s Truth 1 and 2 in docs/decisions/0002.
"""

import errno
import os
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from oroboros.clock import ClockTimestamp, database_time
from oroboros.errors import Refused
from oroboros.lib import files, process
from oroboros.lib.config import Config
from oroboros.lib.process import Outcome, User
from runs.models import Artifact, Claim, Event, Run, Step
from runs.models.run import CLAIM_SECONDS, ClaimLost
from runs.rules import FAILURES, Status, StepStatus

RENEW_SECONDS = 1.0
# A claim that could not be renewed for so long kills its commands: well before it runs out.
SILENT_SECONDS = CLAIM_SECONDS * 2 / 3
ATTEMPTS = 3
WORKER = "worker"


class StepFailed(Exception):
    """The step came to a known bad end: the run fails with `code`, a key of rules.FAILURES."""

    def __init__(self, code: str, detail: str, *, next_action: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.next_action = next_action or FAILURES[code].remedy


class Again(Exception):
    """What the pipeline stands on has moved: begin anew at the step named."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(why)
        self.step = step
        self.why = why


class Stopped(Exception):
    """The run was asked to stop, or the claim is lost: nothing more is done for it here."""


@dataclass(frozen=True)
class Action:
    """One step of a pipeline.

    `act` makes the effect, `probe` returns its result where the effect is there, else None.
    `begins` and `ends` are the run's moves with the step's start and success.
    """

    name: str
    act: Callable[["Context"], None]
    probe: Callable[["Context"], dict[str, Any] | None]
    log_name: str = ""
    begins: Status | None = None
    ends: Status | None = None
    # From here on the run goes through: a request to stop is no longer honoured.
    is_past_stopping: bool = False

    @property
    def log(self) -> str:
        return self.log_name or f"{self.name}_log"


@dataclass
class Context:
    """What a step may use: the run, its claim, its log, and the results of earlier steps."""

    config: Config
    run: Run
    claim: Claim
    action: Action
    attempt: int
    log: Path
    step: Step
    results: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def job(self) -> str:
        """The mark in the environment of every process that is started for this claim."""
        return f"{self.run.pk}:{self.claim.fence}"

    def is_stopping(self) -> bool:
        """Whether the claim is lost, or the run was asked to stop and still can."""
        asked = self.claim.stop_asked.is_set() and not self.action.is_past_stopping
        return asked or self.claim.lost.is_set()

    def check(self) -> None:
        """Stop here if the run was asked to stop or the claim is lost. Raises Stopped."""
        if self.is_stopping():
            raise Stopped

    def say(self, text: str) -> None:
        """Add a line to the step's log, which people follow while it runs."""
        with self.log.open("a") as file:
            file.write(text.rstrip("\n") + "\n")

    def command(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        user: User | None,
        timeout: float | None = None,
    ) -> Outcome:
        """Run a command of the application with its output in the log.

        Raises Stopped when the claim or the run ended meanwhile, StepFailed STEP_TIMEOUT.
        """
        self.check()
        self.say("$ " + " ".join(argv))
        limit = settings.STEP_SECONDS if timeout is None else timeout
        outcome = process.run(
            list(argv),
            cwd=cwd,
            log=self.log,
            timeout=limit,
            env={**env, "OROBOROS_JOB": self.job},
            user=user,
            stop=self.is_stopping,
        )
        self.check()
        if outcome.timed_out:
            raise StepFailed("STEP_TIMEOUT", f"{argv[0]} took longer than {limit:.0f} s.")
        return outcome

    def set(self, **fields: Any) -> None:
        """Write fields of the run, while the claim is good. Raises ClaimLost."""
        if Run.objects.held_by(self.claim).update(**fields) != 1:
            raise ClaimLost
        self.run.refresh_from_db()

    def event(self, kind: str, text: str, **data: Any) -> None:
        """Add a line to the run's timeline."""
        record(kind, text, actor=WORKER, run=self.run, **data)

    def artifact(self, name: str, content: str) -> None:
        """Keep `content` as the artifact `name` of this step."""
        path = artifact_path(self.config, self.run, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, content.encode(), 0o600)
        _register(self.config, self.run, self.step, name, path)

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the step's log, for a failure's detail."""
        return "\n".join(files.read_tail(self.log, 8192).splitlines()[-lines:])


def record(
    kind: str, text: str, *, actor: str, run: Run | None = None, slot_id: str = "", **data: Any
) -> None:
    """Append an event, at the database's time."""
    Event.objects.create(
        run=run, slot_id=slot_id, at=ClockTimestamp(), actor=actor, kind=kind, text=text, data=data
    )


def artifacts_folder(config: Config) -> Path:
    """Return the folder below which every artifact's path lies."""
    return config.var / "artifacts"


def artifact_path(config: Config, run: Run, name: str) -> Path:
    """Return where the run's artifact of that name lies in this generation."""
    return artifacts_folder(config) / str(run.pk) / f"{run.generation}-{name}"


def owner_name() -> str:
    """Return a name for this very piece of work; two claims never share one."""
    return f"{settings.HOST_NAME}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


@contextmanager
def kept(claim: Claim) -> Iterator[None]:
    """Renew the claim from a thread while the body works; give it up at the end.

    What ends in an orderly way was no attempt that killed its worker.
    """
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(claim, done), name="claim", daemon=True)
    thread.start()
    try:
        yield
        Run.objects.filter(pk=claim.run_id, claim_fence=claim.fence).update(attempts=0)
    finally:
        done.set()
        thread.join()
        Run.objects.give_up(claim)


def _renew(claim: Claim, done: threading.Event) -> None:
    """Renew once a second and see whether the run was asked to stop."""
    renewed = time.monotonic()
    try:
        while not done.wait(RENEW_SECONDS):
            try:
                if not Run.objects.renew(claim):
                    claim.lost.set()
                    return
                renewed = time.monotonic()
                if Run.objects.filter(pk=claim.run_id).exclude(stop_status="").exists():
                    claim.stop_asked.set()
            except DatabaseError:
                connection.close()
                if time.monotonic() - renewed > SILENT_SECONDS:
                    claim.lost.set()
                    return
    finally:
        connection.close()


def carry(config: Config, run: Run, claim: Claim, actions: Sequence[Action]) -> None:
    """Perform the pipeline's actions that are not journaled as succeeded, in order.

    Raises StepFailed, Stopped, ClaimLost; anything else is a bug or an accident of the machine,
    left to a later claim (bounded by ATTEMPTS).
    """
    for action in actions:
        done = _done(run)
        if action.name in done:
            continue
        try:
            perform(config, run, claim, action, done)
        except Again as again:
            _reopen(run, claim, actions, again)
            carry(config, run, claim, actions)
            return


def perform(
    config: Config, run: Run, claim: Claim, action: Action, results: Mapping[str, dict[str, Any]]
) -> None:
    """Perform one action: journal, probe, act, probe, journal."""
    context = _begin(config, run, claim, action, results)
    try:
        with _accidents(context):
            found = action.probe(context)
            if found is None:
                context.check()
                action.act(context)
                context.check()
                found = action.probe(context)
            if found is None:
                raise RuntimeError(f"{action.name} was done and its effect is not there")
    except StepFailed as failed:
        _end(context, StepStatus.FAILED, failed.detail, {})
        raise
    except (Stopped, Again) as ended:
        _end(context, StepStatus.STOPPED, str(ended), {})
        raise
    _end(context, StepStatus.SUCCEEDED, "", found, action.ends)


@contextmanager
def _accidents(context: Context) -> Iterator[None]:
    """A full disk is a known bad end; what is not known is written to the log and rises."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            context.say(traceback.format_exc())
            raise
        raise StepFailed("DISK_FULL", f"No room left on the disk: {exc.filename or exc}.") from exc
    except Refused as refused:
        code = refused.code.upper()
        raise StepFailed(code if code in FAILURES else "HOST_REFUSED", refused.detail) from refused
    except (StepFailed, Stopped, Again, ClaimLost):
        raise
    except BaseException:
        context.say(traceback.format_exc())
        raise


def _begin(
    config: Config, run: Run, claim: Claim, action: Action, results: Mapping[str, dict[str, Any]]
) -> Context:
    log = artifact_path(config, run, f"{action.log}")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch(mode=0o600)
    with transaction.atomic():
        at = claimed(run, claim)
        step, made = Step.objects.get_or_create(
            run=run,
            generation=run.generation,
            name=action.name,
            defaults={"status": StepStatus.RUNNING, "started_at": at},
        )
        if not made:
            step.status, step.attempt = StepStatus.RUNNING, step.attempt + 1
            step.started_at, step.ended_at, step.detail = at, None, ""
            step.save()
        if action.is_past_stopping and Run.objects.filter(pk=run.pk).exclude(stop_status=""):
            raise Stopped
        _register(config, run, step, action.log, log)
        if action.begins is not None and run.status != action.begins:
            run.move(action.begins, claim=claim)
    return Context(config, run, claim, action, step.attempt, log, step, results)


def _end(
    context: Context,
    status: StepStatus,
    detail: str,
    result: dict[str, Any],
    to: Status | None = None,
) -> None:
    with transaction.atomic():
        at = claimed(context.run, context.claim)
        Step.objects.filter(pk=context.step.pk).update(
            status=status, ended_at=at, detail=detail, result=result
        )
        if status == StepStatus.SUCCEEDED:
            Run.objects.held_by(context.claim).update(attempts=0)
        if to is not None and context.run.status != to:
            context.run.move(to, claim=context.claim)


def claimed(run: Run, claim: Claim) -> datetime:
    """Lock the run's row for this claim and return the database's time. Raises ClaimLost."""
    if not Run.objects.held_by(claim).select_for_update().exists():
        claim.lost.set()
        raise ClaimLost
    return database_time()


def _done(run: Run) -> dict[str, dict[str, Any]]:
    """Return the results of this generation's steps that succeeded, by name."""
    rows = Step.objects.filter(
        run=run, generation=run.generation, status=StepStatus.SUCCEEDED
    ).values_list("name", "result")
    return dict(rows)


def _reopen(run: Run, claim: Claim, actions: Sequence[Action], again: Again) -> None:
    names = [action.name for action in actions]
    names = names[names.index(again.step) :]
    with transaction.atomic():
        claimed(run, claim)
        Step.objects.filter(run=run, generation=run.generation, name__in=names).update(
            status=StepStatus.STOPPED
        )
        record("begun_again", again.why, actor=WORKER, run=run)


def _register(config: Config, run: Run, step: Step, name: str, path: Path) -> None:
    Artifact.objects.update_or_create(
        run=run,
        generation=run.generation,
        name=name,
        defaults={
            "step": step,
            "path": str(path.relative_to(artifacts_folder(config))),
        },
        create_defaults={
            "step": step,
            "path": str(path.relative_to(artifacts_folder(config))),
            "created_at": ClockTimestamp(),
        },
    )
