"""How a command ended, and what it printed."""

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
        if self.exit_code < 0:
            return f"was ended by signal {-self.exit_code}"
        return f"ended with exit code {self.exit_code}"


@dataclass(frozen=True)
class CapturedOutput:
    """What a short command printed; `exit_code` is None if it took too long or printed too much."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    is_too_long: bool = False
