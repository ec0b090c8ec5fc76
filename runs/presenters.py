"""How a run is presented to people, identically in the API and in the admin."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Case, Exists, OuterRef, Prefetch, Subquery, When

from core.clock import ClockTimestamp
from host.config import Config, SlotConfig
from host.errors import Refused
from runs.approvals.state import read_policy, read_state
from runs.leasing import queue_status
from runs.leasing.grants import explain_refusal
from runs.leasing.queue_status import SlotStatus
from runs.merge_queue import MergeQueueEntry, read_merge_queue
from runs.models import Precheck, Run
from runs.models.run import RunQuerySet
from runs.rules import Status
from slots.models import Lease
from slots.rules import OPEN_STATES, STATES_WITH_SLOT, LeaseState
from slots.runtime import backend
from slots.runtime import spec as specs


@dataclass(frozen=True)
class ProcessView:
    """A process of a slot's run: `state` is running, ended (it is started again) or stopped.

    `restarts` counts those of this lease, after the process had ended by itself.
    """

    name: str
    state: str
    restarts: int

    @property
    def type(self) -> str:
        """The process type: worker.2 is the second process of the type worker."""
        return self.name.partition(".")[0]


def select_runs() -> RunQuerySet:
    """Return runs with their release and open lease.

    `read_at` is the database's time; `merged_in` the title of a merged run of the same commit, for
    ready runs; `has_open_precheck` whether a check before the approval waits or runs.
    """
    merged = Run.objects.filter(status=Status.MERGED, commit_sha=OuterRef("commit_sha"))
    merged_title = Subquery(merged.order_by("-created_at").values("title")[:1])
    leases = Lease.objects.filter(state__in=OPEN_STATES).select_related("slot")
    return (
        # `read_at` comes with the rows: the time left needs no query of its own and no host's
        # clock.
        Run.objects.select_related("release")
        .annotate(
            read_at=ClockTimestamp(),
            merged_in=Case(When(status=Status.PREVIEW_READY, then=merged_title)),
            has_open_precheck=Exists(Precheck.objects.open().filter(run=OuterRef("pk"))),
        )
        .prefetch_related(
            Prefetch("leases", leases, to_attr="open_leases"),
            *(["approvals"] if read_policy().asks_for_more else []),
        )
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


def get_served_slot(run: Run) -> SlotConfig | None:
    """Return the slot that serves the run; None while it is being cleaned."""
    lease = get_open_lease(run)
    return get_slot(run) if lease is not None and lease.state == LeaseState.HELD else None


def get_frontend_url(run: Run) -> str | None:
    """Return the address of the run's frontend; None without a slot."""
    slot = get_served_slot(run)
    return settings.OROBOROS.frontend_url(slot, run.label) if slot else None


def get_backend_url(run: Run) -> str | None:
    """Return the address of the run's backend; None without a slot."""
    slot = get_served_slot(run)
    return settings.OROBOROS.backend_url(slot, run.label) if slot else None


def build_production_url(config: Config, admin_host: str) -> str:
    """Return production's address for a browser that shows the admin at `admin_host`.

    With HTTPS the domain's, through the router its name of the same port; else main's surface
    under the name of this host that the browser used.
    """
    if config.is_https:
        return f"https://{config.app_host}"
    name, colon, port = admin_host.rpartition(":")
    if not colon or port.endswith("]"):  # without a port; an IPv6 address is in brackets
        name, port = admin_host, ""
    if name == f"api.{config.domain}":
        return f"http://app.{config.domain}" + (f":{port}" if port else "")
    return f"http://{name.removeprefix('api.')}:{config.web_port}"


def get_slot_frontend_url(status: SlotStatus) -> str | None:
    """Return the address of the frontend of the run that holds the slot; None without one."""
    return _build_slot_url(status, settings.OROBOROS.frontend_url)


def get_slot_backend_url(status: SlotStatus) -> str | None:
    """Return the address of the backend of the run that holds the slot; None without one."""
    return _build_slot_url(status, settings.OROBOROS.backend_url)


def list_processes_of(status: SlotStatus) -> list[ProcessView]:
    """Return the processes of the run that holds the slot; none without one."""
    if status.lease is None or status.lease.state != LeaseState.HELD:
        return []
    slots = {slot.slot_id: slot for slot in settings.OROBOROS.slots}
    slot = slots.get(status.slot.slot_id)
    is_ours = slot is not None and status.slot.host == settings.OROBOROS.host_name
    return list_slot_processes(slot, status.lease) if slot is not None and is_ours else []


def _build_slot_url(status: SlotStatus, build_url: Callable[[SlotConfig, str], str]) -> str | None:
    if status.lease is None or status.lease.state != LeaseState.HELD:
        return None
    return build_url(settings.OROBOROS.slot(status.slot.slot_id), status.lease.run.label)


def has_processes(run: Run) -> bool:
    """Return whether the run's slot has a backend of this run, whether or not it runs now."""
    slot = get_served_slot(run)
    try:
        return slot is not None and specs.read(slot).run_id == str(run.pk)
    except Refused:  # an unreadable spec, which the reconciler reports
        return False


def list_processes(run: Run) -> list[ProcessView]:
    """Return the processes of the run's preview, `web` first; none without a slot or a backend."""
    slot, lease = get_served_slot(run), get_open_lease(run)
    return [] if slot is None or lease is None else list_slot_processes(slot, lease)


def list_slot_processes(slot: SlotConfig, lease: Lease) -> list[ProcessView]:
    """Return the processes of the run that holds the slot, as they are now."""
    try:
        spec = specs.read(slot)
        if spec.run_id != str(lease.run_id):
            return []  # it is being prepared
        found = backend.list_processes(settings.OROBOROS, slot)
    except Refused:  # an unreadable spec, which the reconciler reports
        return []
    down = "stopped" if spec.wanted == "down" else "ended"
    return [
        ProcessView(
            one.name, "running" if one.is_active else down, lease.process_restarts.get(one.name, 0)
        )
        for one in found
    ]


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


def describe_approvals(run: Run) -> str:
    """Return how many approvals a ready run has and needs; "" if any one is enough."""
    is_ready = run.status == Status.PREVIEW_READY
    return read_state(run).describe() if is_ready and read_policy().asks_for_more else ""


def describe_next_action(run: Run, position: int | None, entry: MergeQueueEntry | None) -> str:
    """Return what people should do next, or what the run waits for."""
    if run.stop_status and not run.is_final:
        return "The run is being ended: its processes are stopped, then its slot is released."
    if run.next_action:
        return run.next_action
    if reason := describe_wait(run, position, entry):
        return reason
    if merged_in := run.merged_in:  # type: ignore[attr-defined]
        return (
            f"{run.commit_sha[:12]} is merged already, by the run {merged_in}: there is nothing to "
            "approve. Cancel this run to free its slot."
        )
    sentences: dict[str, str] = {
        Status.QUEUED: "Waiting until its creator acquires a slot for it.",
        Status.HOLDING: "Its creator holds the slot and releases it when done.",
        Status.PREPARING: "The preview is being prepared.",
        Status.PREVIEW_READY: (
            f"Review the preview, then approve or reject {run.commit_sha[:12]}. "
            f"{describe_approvals(run)}"
        ).rstrip(),
        Status.APPROVED: "Approved. It ships when it is first in the merge queue.",
        Status.MERGING: "The branch is being merged and checked.",
        Status.DEPLOYING: "The release is being deployed.",
    }
    return sentences.get(run.status, "")


def build_run_url(config: Config, run_id: uuid.UUID) -> str:
    """Return the address of the run's page."""
    return f"{config.admin_url}runs/run/{run_id}/change/"
