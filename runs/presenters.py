"""How a run is presented to people, identically in the API and in the admin."""

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
from releases.rules import filter_migrations
from runs.leasing import queue_status
from runs.leasing.grants import explain_refusal
from runs.merge_queue import MergeQueueEntry, read_merge_queue
from runs.models import Run
from runs.models.run import RunQuerySet
from runs.pipelines import schema_changes
from runs.rules import Status
from slots.models import Lease
from slots.rules import OPEN_STATES, STATES_WITH_SLOT, LeaseState

PATCH_CHARACTERS = 400_000
MANIFEST = "oroboros.toml"


def select_runs() -> RunQuerySet:
    """Return runs with their release and open lease, and `read_at`, the database's time."""
    leases = Lease.objects.filter(state__in=OPEN_STATES).select_related("slot")
    return (
        # `read_at` comes with the rows: the time left needs no query of its own and no host's
        # clock.
        Run.objects.select_related("release")
        .annotate(read_at=ClockTimestamp())
        .prefetch_related(Prefetch("leases", leases, to_attr="open_leases"))
    )


def get_open_lease(run: Run) -> Lease | None:
    """Return the open lease of a run from `select_runs()`; None without one."""
    return run.open_leases[0] if run.open_leases else None  # type: ignore[attr-defined]


def get_slot(run: Run) -> SlotConfig | None:
    """Return the slot that the run holds, also while it is being cleaned; None without one."""
    lease = get_open_lease(run)
    if lease is None or lease.slot is None or lease.state not in STATES_WITH_SLOT:
        return None
    if lease.slot.host != settings.OROBOROS.host_name:
        return None  # its ports and files are another host's
    return settings.OROBOROS.slot(lease.slot.slot_id)


def _get_served_slot(run: Run) -> SlotConfig | None:
    """Return the slot that serves the run; None while it is being cleaned."""
    lease = get_open_lease(run)
    return get_slot(run) if lease is not None and lease.state == LeaseState.HELD else None


def get_frontend_url(run: Run) -> str | None:
    """Return the address of the run's frontend; None without a slot."""
    slot = _get_served_slot(run)
    return settings.OROBOROS.frontend_url(slot) if slot else None


def get_backend_url(run: Run) -> str | None:
    """Return the address of the run's backend; None without a slot."""
    slot = _get_served_slot(run)
    return settings.OROBOROS.backend_url(slot) if slot else None


def get_expiry(run: Run) -> datetime | None:
    """Return when the lease expires; None without a lease and for a pinned one (shipping)."""
    lease = get_open_lease(run)
    return None if lease is None or lease.is_pinned else lease.expires_at


def get_seconds_left(run: Run) -> int | None:
    """Return the seconds until the lease expires by the database's clock, at least 0."""
    end = get_expiry(run)
    if end is None:
        return None
    return max(0, int((end - run.read_at).total_seconds()))  # type: ignore[attr-defined]


def get_queue_positions(runs: Iterable[Run]) -> dict[uuid.UUID, int]:
    """Return the queue position, 1 is next, of each waiting run: at most one query."""
    waiting = (
        run.pk
        for run in runs
        if (lease := get_open_lease(run)) and lease.state == LeaseState.WAITING
    )
    return queue_status.get_positions(list(waiting))


def get_merge_queue_entries(runs: Iterable[Run]) -> dict[uuid.UUID, MergeQueueEntry]:
    """Return the merge queue's entries by run id; {} and no query if no run is approved."""
    has_approved = any(run.status == Status.APPROVED for run in runs)
    return read_merge_queue(settings.OROBOROS) if has_approved else {}


def describe_wait(run: Run, position: int | None, entry: MergeQueueEntry | None) -> str:
    """Return why a run waits for a slot or to ship; "" if it waits for neither."""
    if position is not None:
        text = f"Waiting for a slot, position {position} in the queue."
        return f"{text} {explain_refusal()}".rstrip()
    if entry is not None and run.status == Status.APPROVED:
        return entry.describe_position()
    return ""


def describe_next_action(run: Run, position: int | None, entry: MergeQueueEntry | None) -> str:
    """Return what people should do next, or what the run waits for."""
    if run.next_action:
        return run.next_action
    if reason := describe_wait(run, position, entry):
        return reason
    sentences: dict[str, str] = {
        Status.QUEUED: "Waiting until its creator acquires a slot for it.",
        Status.HOLDING: "Its creator holds the slot and releases it when done.",
        Status.PREPARING: "The preview is being prepared.",
        Status.PREVIEW_READY: f"Review the preview, then approve or reject {run.commit_sha[:12]}.",
        Status.APPROVED: "Approved. It ships when it is first in the merge queue.",
        Status.MERGING: "The branch is being merged and checked.",
        Status.DEPLOYING: "The release is being deployed.",
    }
    return sentences.get(run.status, "")


@dataclass(frozen=True)
class ChangedCheck:
    """A check that the run changes: its text in oroboros.toml before and after; None: absent."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Difference:
    """What a run changes, from `base_sha` to `commit_sha`."""

    base_sha: str
    commit_sha: str
    commits: list[LogEntry] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    migrations: list[str] = field(default_factory=list)
    checks: list[ChangedCheck] = field(default_factory=list)
    # What the migrations changed in the preview's schema; None until its backend was started.
    schema_changes: list[Change] | None = None
    patch: str = ""
    is_cut: bool = False


def compute_difference(run: Run, repo: Repository) -> Difference:
    """Return what the run's commit changes compared with the target branch; after shipping, what
    it changed then.

    Raises Refused `no_commit` for a run that only holds a slot, `sha_unknown` (404) if git no
    longer has the commit, `target_unknown` if the target branch has not been fetched yet.
    """
    if not run.commit_sha:
        raise Refused("no_commit", "The run only holds a slot and has no commit.")
    commit = repo.require_commit(run.candidate_sha or run.commit_sha)
    # Once the candidate is merged, the target branch contains the commit, and a merge base with it
    # would show no difference.
    base = run.base_sha if run.candidate_sha else _find_base(commit, repo)
    files = repo.list_changed_files(base, commit)
    # One character more than is shown tells whether the patch is longer.
    patch = repo.diff(base, commit, limit=PATCH_CHARACTERS + 1)
    schema = schema_changes.read_schema_diff(run)
    return Difference(
        base_sha=base,
        commit_sha=commit,
        commits=repo.list_commits(base, commit),
        files=files,
        migrations=filter_migrations(files),
        checks=_compare_checks(repo, base, commit) if MANIFEST in files else [],
        schema_changes=schema.changes if schema else None,
        patch=patch[:PATCH_CHARACTERS],
        is_cut=len(patch) > PATCH_CHARACTERS,
    )


def _compare_checks(repo: Repository, old: str, new: str) -> list[ChangedCheck]:
    before, after = _read_checks(repo, old), _read_checks(repo, new)
    return [
        ChangedCheck(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _read_checks(repo: Repository, commit: str) -> dict[str, str]:
    """Return the commit's checks as written, by name; {} if its manifest cannot be read."""
    raw = repo.read_file(commit, MANIFEST) or b""
    try:
        table = tomllib.loads(raw[:FILE_BYTES].decode()).get("checks")
        return (
            {name: str(check) for name, check in table.items()} if isinstance(table, dict) else {}
        )
    except (ValueError, RecursionError):  # also an integer with more digits than Python converts
        return {}


def _find_base(commit: str, repo: Repository) -> str:
    """Return the merge base of the commit and the target branch."""
    name = settings.OROBOROS.target_branch
    # Our own ref of the target branch is created with the first candidate.
    target = repo.resolve_ref(f"refs/heads/{name}") or repo.find_branch_head(name)
    base = repo.find_merge_base(target, commit) if target else None
    if base is None:
        raise Refused(
            "target_unknown",
            f"The branch {name} has not been fetched yet, so there is nothing to compare with.",
        )
    return base
