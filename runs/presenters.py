"""What people are shown of a run, the same in the API and in the admin."""

import tomllib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db.models import Prefetch

from core.clock import ClockTimestamp
from host.config import SlotConfig
from host.errors import Refused
from host.files.source_tree import FILE_BYTES
from host.git.bare_repository import LogEntry, Repository
from host.postgres.schema_diff import Change
from releases.rules import migrations_among
from runs.leasing import queue_status
from runs.leasing.grants import refusal
from runs.leasing.queue_status import Turn
from runs.models import Run
from runs.models.run import RunQuerySet
from runs.pipelines import schema_changes
from runs.rules import Status
from slots.models import Lease
from slots.rules import ON_SLOT, OPEN, LeaseState

PATCH_CHARACTERS = 400_000
MANIFEST = "oroboros.toml"


def runs() -> RunQuerySet:
    """Return runs with what is shown of them: their open lease, and when they were read."""
    leases = Lease.objects.filter(state__in=OPEN).select_related("slot")
    return (
        Run.objects.select_related("release")
        .annotate(read_at=ClockTimestamp())
        .prefetch_related(Prefetch("leases", leases, to_attr="open_leases"))
    )


def lease(run: Run) -> Lease | None:
    """Return the open lease of a run that came from `runs()`."""
    return run.open_leases[0] if run.open_leases else None  # type: ignore[attr-defined]


def slot(run: Run) -> SlotConfig | None:
    """Return the slot that a lease of the run is on."""
    found = lease(run)
    if found is None or found.slot is None or found.state not in ON_SLOT:
        return None
    return settings.OROBOROS.slot(found.slot.slot_id)


def _open_slot(run: Run) -> SlotConfig | None:
    """Return the slot that shows the run: not one that is being cleaned."""
    found = lease(run)
    return slot(run) if found is not None and found.state == LeaseState.HELD else None


def frontend_url(run: Run) -> str | None:
    """Return the address of the run's preview, while it holds a slot."""
    found = _open_slot(run)
    return settings.OROBOROS.frontend_url(found) if found else None


def backend_url(run: Run) -> str | None:
    """Return the address of the run's backend, while it holds a slot."""
    found = _open_slot(run)
    return settings.OROBOROS.backend_url(found) if found else None


def expires_at(run: Run) -> datetime | None:
    """Return when the lease runs out; None if there is none or it is held open."""
    found = lease(run)
    return None if found is None or found.is_pinned else found.expires_at


def seconds_left(run: Run) -> int | None:
    """Return how long the lease still is by the database's clock, never below 0."""
    end = expires_at(run)
    if end is None:
        return None
    return max(0, int((end - run.read_at).total_seconds()))  # type: ignore[attr-defined]


def positions(shown: Iterable[Run]) -> dict[uuid.UUID, int]:
    """Return the place in the waiting line, 1 is next, of those that wait; one query at most."""
    waiting = (run.pk for run in shown if (own := lease(run)) and own.state == LeaseState.WAITING)
    return queue_status.positions(list(waiting))


def turns(shown: Iterable[Run]) -> dict[uuid.UUID, Turn]:
    """Return where those that are approved stand in the line to ship; no query where none is."""
    return queue_status.to_ship() if any(run.status == Status.APPROVED for run in shown) else {}


def waiting_reason(run: Run, position: int | None, turn: Turn | None) -> str:
    """Return why a run waits for a slot or for its turn to ship; "" if it waits for neither."""
    if position is not None:
        place = f"Waiting for a slot, number {position} in the line."
        return f"{place} {refusal()}".rstrip()
    if turn is not None and run.status == Status.APPROVED:
        return turn.reason
    return ""


def next_action(run: Run, position: int | None, turn: Turn | None) -> str:
    """Return what somebody should do next, or what the run waits for."""
    if run.next_action:
        return run.next_action
    if waits := waiting_reason(run, position, turn):
        return waits
    sentences: dict[str, str] = {
        Status.QUEUED: "Waiting to be acquired by whoever made it.",
        Status.HOLDING: "Whoever made it holds the slot until they release it.",
        Status.PREPARING: "The preview is being prepared.",
        Status.PREVIEW_READY: f"Look at the preview, then approve or reject {run.commit_sha[:12]}.",
        Status.APPROVED: "Approved; it ships when its turn comes.",
        Status.MERGING: "The merge is being made and checked.",
        Status.DEPLOYING: "The release is being deployed.",
    }
    return sentences.get(run.status, "")


@dataclass(frozen=True)
class ChangedCheck:
    """A check that a run changes: how oroboros.toml wrote it and writes it; None: not at all."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Difference:
    """What a run changes: from `base_sha` to `commit_sha`."""

    base_sha: str
    commit_sha: str
    commits: list[LogEntry] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    migrations: list[str] = field(default_factory=list)
    checks: list[ChangedCheck] = field(default_factory=list)
    # What the migrations did to the preview's database; None until its backend was started.
    schema_changes: list[Change] | None = None
    patch: str = ""
    is_cut: bool = False


def difference(run: Run, repo: Repository) -> Difference:
    """Return what the run's commit changes against the target branch, or did when it shipped.

    Raises Refused `no_commit` for a run that only holds a slot, `sha_unknown` (404) if git has
    lost the commit, `target_unknown` where nothing has shipped or been fetched yet.
    """
    if not run.commit_sha:
        raise Refused("no_commit", "The run only holds a slot; it has no commit.")
    commit = repo.known(run.candidate_sha or run.commit_sha)
    base = run.base_sha if run.candidate_sha else _base(commit, repo)
    files = repo.changed_files(base, commit)
    patch = repo.diff(base, commit, limit=PATCH_CHARACTERS + 1)
    schema = schema_changes.schema(run)
    return Difference(
        base_sha=base,
        commit_sha=commit,
        commits=repo.log(base, commit),
        files=files,
        migrations=migrations_among(files),
        checks=_changed_checks(repo, base, commit) if MANIFEST in files else [],
        schema_changes=schema.changes if schema else None,
        patch=patch[:PATCH_CHARACTERS],
        is_cut=len(patch) > PATCH_CHARACTERS,
    )


def _changed_checks(repo: Repository, old: str, new: str) -> list[ChangedCheck]:
    before, after = _checks(repo, old), _checks(repo, new)
    return [
        ChangedCheck(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _checks(repo: Repository, commit: str) -> dict[str, str]:
    """Return the commit's checks as they are written, by name; none where that cannot be read."""
    raw = repo.show_file(commit, MANIFEST) or b""
    try:
        table = tomllib.loads(raw[:FILE_BYTES].decode()).get("checks")
        return {name: str(said) for name, said in table.items()} if isinstance(table, dict) else {}
    except (ValueError, RecursionError):  # also a number of more digits than Python reads or writes
        return {}


def _base(commit: str, repo: Repository) -> str:
    """Return where the commit's history left the target branch."""
    name = settings.OROBOROS.target_branch
    target = repo.head(f"refs/heads/{name}") or repo.branch_sha(name)
    base = repo.merge_base(target, commit) if target else None
    if base is None:
        raise Refused("target_unknown", f"Nothing of {name} is here to compare with.")
    return base
