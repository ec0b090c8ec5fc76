"""The identity of one process, which a recycled pid does not have."""

from dataclasses import dataclass

from host.process import process_table


@dataclass(frozen=True)
class ProcessId:
    """One process: its pid and its start time in seconds since boot.

    `mark` is the value of OROBOROS_JOB in its environment, which its descendants inherit.
    """

    pid: int
    start_time: float
    mark: str = ""

    def is_alive(self) -> bool:
        """Return whether exactly this process runs; a zombie does not."""
        return process_table.is_alive(self.pid, self.start_time)
