"""The queue's processes: which there are, which of them were killed, and what follows from that.

A queue worker that is killed while it waits for a task may keep the lock of the queue, so that no
other one gets a task. A lost process is therefore the reason to wait for the next heartbeat for a
shorter time than usual.

A worker that has run a task shares less and less memory with the others, because all that it runs
writes to it (docs/decisions/0016). So it ends after its task, and the cluster forks another one.
"""

import mmap
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from django_q.conf import Conf
from django_q.signals import post_execute_in_worker, post_spawn

from core import claims
from host.process import process_table
from host.process.process_id import ProcessId
from runs.lifecycle import queue_health

# A cluster that starts needs a while before the first heartbeat can be back.
GRACE_SECONDS = 45.0
# After the loss of a process, two heartbeats may be late: one of them may have been its task.
LOSS_SECONDS = 12.0
# For so long after a loss the shorter limit holds.
SUSPICIOUS_SECONDS = 60.0
# More than there are between two looks of the supervisor.
RETIRED_AT_MOST = 1024


class RetiredProcesses:
    """The pids of queue workers that end after a task, in memory that this process's forks share.

    Only the parent of a process learns how it ended, and that is the cluster. Of two pids that are
    kept in the same place the first is forgotten: that worker counts as lost.
    """

    def __init__(self) -> None:
        size = RETIRED_AT_MOST * memoryview(b"").cast("I").itemsize
        self._pids = memoryview(mmap.mmap(-1, size)).cast("I")

    def __contains__(self, pid: int) -> bool:
        return self._pids[pid % RETIRED_AT_MOST] == pid

    def add(self, pid: int) -> None:
        self._pids[pid % RETIRED_AT_MOST] = pid

    def discard(self, pid: int) -> None:
        """Forget the pid: another process has got it."""
        if pid in self:
            self._pids[pid % RETIRED_AT_MOST] = 0


def retire_workers(retired: RetiredProcesses, light: Callable[[], object]) -> None:
    """Have each worker that this process forks end after a task, unless the task is `light`."""

    def begin(**_: object) -> None:
        retired.discard(os.getpid())

    def end(func: object, **_: object) -> None:
        if func is not light:
            retired.add(os.getpid())
            # In KB. Any process has more, so that this one is recycled; it has a Conf of its own.
            Conf.MAX_RSS = 1

    post_spawn.connect(begin, weak=False)
    post_execute_in_worker.connect(end, weak=False)


@dataclass
class QueueProcesses:
    """The processes below one cluster. Times are those of the monotonic clock."""

    started: float
    lost_at: float | None = None
    retired: RetiredProcesses = field(default_factory=RetiredProcesses)
    members: set[ProcessId] = field(default_factory=set)

    def update(self, cluster: ProcessId, now: float) -> set[ProcessId]:
        """Read the cluster's processes, and return those that were lost since the last call."""
        ended = {one for one in self.members if not one.is_alive()}
        lost = {one for one in ended if one.pid not in self.retired}
        if lost:
            self.lost_at = now
        found = process_table.list_descendants(cluster.pid)
        self.members -= ended
        self.members |= {ProcessId(entry.pid, entry.start_time) for entry in found}
        return lost

    def kill_members(self) -> None:
        """Kill what is known to be left of a cluster that has ended.

        What it forked since the last `update` ends with its parent (PR_SET_PDEATHSIG).
        """
        for member in self.members:
            if member.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)

    def find_max_age(self, now: float) -> float:
        """Return for how many seconds a heartbeat shows that the queue delivers."""
        return LOSS_SECONDS if self.is_suspicious(now) else queue_health.HEARTBEAT_MAX_AGE_SECONDS

    def is_restart_due(self, now: float) -> bool:
        """Return whether a cluster that does not deliver has had time enough."""
        if self.lost_at is not None and self.is_suspicious(now):
            return now - self.lost_at > LOSS_SECONDS
        return now - self.started > GRACE_SECONDS

    def is_suspicious(self, now: float) -> bool:
        """Return whether a process was lost lately, so that the cluster may not deliver."""
        return self.lost_at is not None and now - self.lost_at < SUSPICIOUS_SECONDS


def expire_claims(
    session: int, pids: Iterable[int] | None = None, *, is_shutdown: bool = False
) -> int:
    """Let the work of ended processes be claimed at once: of a session, or of its `pids` only.

    Not after CLAIM_SECONDS: that time is for processes of which nothing is known. What
    `is_shutdown` ended counts as no attempt. Returns how many claims have ended.
    """
    ended = None if pids is None else list(pids)
    return sum(
        model.objects.all().expire_claims_of(session, ended, is_shutdown=is_shutdown)
        for model in claims.list_claimable_models()
    )


def expire_claims_of_dead_processes() -> int:
    """Let the work of a worker that was killed with all its processes be claimed at once.

    Returns how many claims have ended.
    """
    models = claims.list_claimable_models()
    return sum(model.objects.all().expire_claims_of_dead_processes() for model in models)
