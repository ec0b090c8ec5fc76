"""How a command ended, and what it printed."""

import signal
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a command ended: `exit_code` is None if we ended it, negative if a signal did."""

    exit_code: int | None
    seconds: float
    timed_out: bool
    stopped: bool

    @property
    def failure(self) -> str:
        """How the command failed, to end a sentence whose subject is the command."""
        if self.timed_out:
            return "took too long"
        if self.exit_code is None:
            return "was stopped"
        return describe_exit(self.exit_code)


def describe_exit(exit_code: int) -> str:
    """Return how a program ended, to end a sentence. `exit_code` is negative if a signal did."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    name = ""
    with suppress(ValueError):  # a real-time signal has none
        name = f" ({signal.Signals(-exit_code).name})"
    if is_killed(exit_code):
        name = " (SIGKILL: the system sends it when memory is short)"
    return f"ended with signal {-exit_code}{name}"


def is_killed(exit_code: int | None) -> bool:
    """Return whether SIGKILL ended a program, which it does not send to itself."""
    return exit_code == -signal.SIGKILL


@dataclass(frozen=True)
class CapturedOutput:
    """What a short command printed; `exit_code` is None if it took too long or printed too much."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    is_too_long: bool = False
