"""What a step of a pipeline works with: its log, its commands, and the ways in which it ends."""

import errno
import os
import shutil
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from core.claims import ClaimLost
from host.config import Config
from host.errors import Refused
from host.files import safe_files
from host.process import runner
from host.process.runner import Outcome, User
from runs.rules import FAILURES

# With less room than this a command's failure is the disk's.
FULL_BYTES = 256 * 1024
FULL = os.strerror(errno.ENOSPC)
OF_COMMANDS = ("BUILD_FAILED", "CHECKS_FAILED", "MIGRATION_FAILED", "BACKEND_UNHEALTHY")


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


@dataclass
class Work:
    """What commands of an application are run with: a log, and who may stop them."""

    config: Config
    log: Path
    # The mark in the environment of every process that is started for this work.
    job: str

    def is_stopping(self) -> bool:
        """Whether commands under way are to end."""
        return False

    def check(self) -> None:
        """Stop here if the work is to end. Raises Stopped."""
        if self.is_stopping():
            raise Stopped

    def say(self, text: str) -> None:
        """Add a line to the log, which people follow while it is written."""
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

        `argv` itself is not written there: a password may be filled in. Raises Stopped when the
        claim or the run ended meanwhile, StepFailed STEP_TIMEOUT.
        """
        self.check()
        limit = settings.STEP_SECONDS if timeout is None else timeout
        outcome = runner.run(
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

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log, for a failure's detail."""
        return "\n".join(safe_files.read_tail(self.log, 8192).splitlines()[-lines:])


@contextmanager
def told_accidents(work: Work) -> Iterator[None]:
    """A full disk is a known bad end; what is not known is written to the log and rises."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            _keep_trace(work)
            raise
        raise StepFailed("DISK_FULL", f"No room left on the disk: {exc.filename or exc}.") from exc
    except Refused as refused:
        code = refused.code.upper() if refused.code.upper() in FAILURES else "HOST_REFUSED"
        # Git has other words for it.
        is_full = FULL in refused.detail or (code == "HOST_REFUSED" and _is_full(work.config))
        raise StepFailed("DISK_FULL" if is_full else code, refused.detail) from refused
    except StepFailed as failed:
        if failed.code in OF_COMMANDS and _is_full(work.config):
            raise StepFailed("DISK_FULL", f"No room left on the disk. {failed.detail}") from failed
        raise
    except (Stopped, Again, ClaimLost):
        raise
    except BaseException:
        _keep_trace(work)
        raise


def _keep_trace(work: Work) -> None:
    with suppress(OSError):  # the accident itself is what must rise
        work.say(traceback.format_exc())


def _is_full(config: Config) -> bool:
    return shutil.disk_usage(config.var).free < FULL_BYTES
