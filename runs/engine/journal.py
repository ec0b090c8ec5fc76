"""The engine: carries a claimed run through its steps, and writes down what it does.

Every step is probe → act → probe: before acting it is asked whether its effect is there; after a
crash the same question decides. Every write names the claim's fence, so a process that lost its
claim writes nothing. See docs/decisions/0002.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction
from psycopg.types.json import Jsonb

from core import claims
from core.claims import Claim, ClaimLost
from core.clock import ClockTimestamp
from core.prepared_statements import fetch
from host.config import Config
from host.files import log_files, safe_files
from runs.engine.step_context import Again, StepFailed, Stopped, Work, told_accidents
from runs.models import Event, Run, Step
from runs.rules import Status, StepStatus

ATTEMPTS = 3
# Times that one claim begins anew because what it stood on moved.
AGAINS = 5
WORKER = "worker"

# What a step begins and ends with is SQL: put together by the ORM it took four fifths of the
# journal's time. HELD is the run's row, locked; it is empty where the claim is lost.
HELD = """
WITH held AS MATERIALIZED (
    SELECT id, stop_status, clock_timestamp() AS at FROM runs_run
    WHERE id = %(run)s::uuid AND claim_owner = %(owner)s::text AND claim_fence = %(fence)s::bigint
      AND claim_expires_at > clock_timestamp()
    FOR NO KEY UPDATE
)"""
KEEP = """
    INSERT INTO runs_artifact (run_id, generation, name, step_id, path, created_at)
    SELECT run_id, generation, %(artifact)s::text, id, %(path)s::text, clock_timestamp() FROM step
    ON CONFLICT (run_id, generation, name) DO UPDATE
    SET step_id = excluded.step_id, path = excluded.path
    RETURNING id
"""
BEGIN = f"""{HELD},
step AS (
    INSERT INTO runs_step AS step
        (run_id, generation, name, status, attempt, started_at, detail, result)
    SELECT id, %(generation)s::int, %(name)s::text, 'running', 1, at, '', '{{}}' FROM held
    WHERE stop_status = '' OR %(goes_through)s::boolean
    ON CONFLICT (run_id, generation, name) DO UPDATE
    SET status = 'running', attempt = step.attempt + 1, started_at = excluded.started_at,
        ended_at = NULL, detail = ''
    RETURNING id, run_id, generation, attempt
),
kept AS ({KEEP})
SELECT step.id, attempt FROM held LEFT JOIN step ON true
"""  # noqa: S608 — put together of nothing but what stands here
END = f"""{HELD},
step AS (
    UPDATE runs_step
    SET status = %(status)s::text, ended_at = at, detail = %(detail)s::text, result = %(result)s
    FROM held WHERE runs_step.id = %(step)s::bigint
)
SELECT id FROM held
"""  # noqa: S608 — as above
ARTIFACT = f"""
WITH step AS (SELECT id, run_id, generation FROM runs_step WHERE id = %(step)s::bigint)
{KEEP}
"""  # noqa: S608 — as above


@dataclass(frozen=True)
class Action:
    """One step of a pipeline.

    `act` makes the effect, `probe` returns its result where the effect is there, else None; both
    happen `within` what they share. `begins` and `ends` are the run's moves with the step's start
    and success.
    """

    name: str
    act: Callable[["Context"], None]
    probe: Callable[["Context"], dict[str, Any] | None]
    log_name: str = ""
    within: Callable[["Context"], AbstractContextManager[object]] = nullcontext
    begins: Status | None = None
    ends: Status | None = None
    # From here on the run goes through: a request to stop is no longer honoured.
    is_past_stopping: bool = False

    @property
    def log(self) -> str:
        return self.log_name or f"{self.name}_log"


@dataclass
class Context(Work):
    """What a step may use: the run, its claim, its log, and the results of earlier steps."""

    run: Run
    claim: Claim
    action: Action
    attempt: int
    step_id: int
    results: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def is_stopping(self) -> bool:
        """Whether the claim is lost, or the run was asked to stop and still can."""
        asked = self.claim.stop_asked.is_set() and not self.action.is_past_stopping
        return asked or self.claim.is_lost

    def set(self, **fields: Any) -> None:
        """Write values to fields of the run, while the claim is good. Raises ClaimLost."""
        if Run.objects.held_by(self.claim).update(**fields) != 1:
            raise ClaimLost
        for name, value in fields.items():
            setattr(self.run, name, value)

    def event(self, kind: str, text: str, **data: Any) -> None:
        """Add a line to the run's timeline."""
        record(kind, text, actor=WORKER, run=self.run, **data)

    def follow(self, output: Path) -> None:
        """Have the log that a daemon of ours writes to as this step's: one file with two names.

        It is there to be followed while the daemon runs, and stays when its own name goes.
        """
        self.log.unlink(missing_ok=True)
        with log_files.open_append(output):
            os.link(output, self.log)

    def artifact(self, name: str, content: str) -> None:
        """Keep `content` as the artifact `name` of this step."""
        path = artifact_path(self.config, self.run, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        safe_files.write_atomic(path, content.encode(), 0o600)
        fetch(ARTIFACT, step=self.step_id, **_named(self.config, name, path))


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


@contextmanager
def kept(claim: Claim) -> Iterator[None]:
    """Keep the run's claim while the body works, and see whether it was asked to stop.

    What ends in an orderly way was no attempt that killed its worker.
    """
    asked = Run.objects.filter(pk=claim.pk).exclude(stop_status="")
    with claims.kept(Run.objects.all(), claim, asked.exists):
        yield
        Run.objects.filter(pk=claim.pk, claim_fence=claim.fence).update(attempts=0)


def carry(config: Config, run: Run, claim: Claim, actions: Sequence[Action]) -> None:
    """Perform the pipeline's actions that are not journaled as succeeded, in order.

    Raises StepFailed, Stopped, ClaimLost; anything else is a bug or an accident of the machine,
    left to a later claim (bounded by ATTEMPTS).
    """
    for _ in range(AGAINS):
        try:
            results = _done(run)
            for action in actions:
                if action.name not in results:
                    results[action.name] = perform(config, run, claim, actions, action, results)
            return
        except Again as again:
            _reopen(run, claim, actions, again)
            why = again.why
    raise StepFailed("HOST_REFUSED", f"Begun anew {AGAINS} times in vain. The last time: {why}.")


def perform(
    config: Config,
    run: Run,
    claim: Claim,
    actions: Sequence[Action],
    action: Action,
    results: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Perform one action: journal, probe, act, probe, journal. Returns its result."""
    with told_accidents(Work(config, artifact_path(config, run, action.log), "")):
        context = _begin(config, run, claim, actions, action, results)
    try:
        with told_accidents(context), action.within(context):
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
    return found


def is_past_stopping(run: Run, actions: Sequence[Action]) -> bool:
    """Whether the run has begun what cannot be taken back by stopping it."""
    names = [action.name for action in actions if action.is_past_stopping]
    begun = Step.objects.filter(run=run, generation=run.generation, name__in=names)
    return begun.exclude(status=StepStatus.STOPPED).exists()


def _begin(
    config: Config,
    run: Run,
    claim: Claim,
    actions: Sequence[Action],
    action: Action,
    results: Mapping[str, dict[str, Any]],
) -> Context:
    log = artifact_path(config, run, action.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch(mode=0o600)
    words = {"generation": run.generation, "name": action.name, **_named(config, action.log, log)}
    step_id, attempt = _fetch_held(claim, BEGIN, goes_through=False, **words)
    if step_id is None:  # the run was asked to stop
        if not is_past_stopping(run, actions):
            raise Stopped
        step_id, attempt = _fetch_held(claim, BEGIN, goes_through=True, **words)
    if action.begins is not None and run.status != action.begins:
        move_on(run, action.begins, claim)
    job = f"{run.pk}:{claim.fence}"
    return Context(config, log, job, run, claim, action, attempt, step_id, results)


def _end(
    context: Context,
    status: StepStatus,
    detail: str,
    result: dict[str, Any],
    to: Status | None = None,
) -> None:
    words = {"step": context.step_id, "status": status.value, "detail": detail}
    with transaction.atomic():
        _fetch_held(context.claim, END, result=Jsonb(result), **words)
        if status == StepStatus.SUCCEEDED and context.run.attempts != 1:
            context.set(attempts=1)  # this claim is the first attempt at what comes next
        if to is not None and context.run.status != to:
            move_on(context.run, to, context.claim)


def move_on(run: Run, to: Status, claim: Claim) -> None:
    """Make a move that the pipeline itself makes, and tell it. Raises as Run.move."""
    run.move(to, claim=claim)
    record(to, f"is {to.label.lower()} now", actor=WORKER, run=run)


def claimed(claim: Claim) -> datetime:
    """Lock the run's row for this claim and return the database's time. Raises ClaimLost."""
    rows = Run.objects.held_by(claim).select_for_update(no_key=True)
    at = rows.values_list(ClockTimestamp(), flat=True).first()
    if at is None:
        claim.lost.set()
        raise ClaimLost
    return at


def _fetch_held(claim: Claim, statement: str, **values: Any) -> tuple[Any, ...]:
    """Run a statement that begins with HELD; returns its row. Raises ClaimLost."""
    whose = {"run": claim.pk, "owner": claim.owner, "fence": claim.fence}
    [rows] = fetch(statement, **whose, **values)
    if not rows:
        claim.lost.set()
        raise ClaimLost
    return rows[0]


def _named(config: Config, name: str, path: Path) -> dict[str, str]:
    return {"artifact": name, "path": str(path.relative_to(artifacts_folder(config)))}


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
        claimed(claim)
        Step.objects.filter(run=run, generation=run.generation, name__in=names).update(
            status=StepStatus.STOPPED
        )
        record("begun_again", again.why, actor=WORKER, run=run)
