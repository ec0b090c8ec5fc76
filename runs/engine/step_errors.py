"""The ways in which a step ends early, and how other exceptions are translated into them."""

import errno
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.claims import ClaimLost
from host.config import Config
from host.errors import Refused
from host.masking.known_secrets import read_masks
from host.process import shutdown
from host.units.jobs import JobInterrupted
from runs.rules import FAILURES, failure_code_of

# A program that fails while less than this is free is taken to have failed for want of disk space:
# 256 KiB is below what any build, check or migration writes.
DISK_FULL_BYTES = 256 * 1024
# The failures of an application's own commands, which report a full disk in words of their own.
COMMAND_FAILURES = (
    "BUILD_FAILED",
    "CHECKS_FAILED",
    "MIGRATION_FAILED",
    "BACKEND_UNHEALTHY",
    "MAIN_BROKEN",
)


class StepFailed(Exception):
    """The step failed for a known reason: the run fails with `code`, a key of rules.FAILURES."""

    def __init__(self, code: str, detail: str, *, next_action: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.next_action = next_action or FAILURES[code].remedy


class PipelineRestart(Exception):
    """A premise of the pipeline changed: run it again from the step named `step`."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason


class StepStopped(Exception):
    """The run was asked to stop, or its claim is lost: this process does nothing more for it."""


@contextmanager
def translate_errors(config: Config, log: Path) -> Iterator[None]:
    """Turn a full disk and every Refused but JobInterrupted into StepFailed.

    While the worker ends, every failure becomes StepStopped. Unknown exceptions pass, with their
    traceback written to `log`.
    """
    try:
        with _stop_at_shutdown():
            yield
    except OSError as error:
        # EDQUOT: to the application a quota that is used up is a full disk.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            _log_traceback(config, log)
            raise
        detail = f"The disk is full: {error.filename or error}."
        raise StepFailed("DISK_FULL", detail) from error
    except JobInterrupted:
        raise
    except Refused as refused:
        code = failure_code_of(refused.code)
        # Git and PostgreSQL report a full disk in words of their own, so the free space is checked.
        if code == "HOST_REFUSED" and _is_disk_full(config):
            code = "DISK_FULL"
        raise StepFailed(code, refused.detail) from refused
    except StepFailed as failed:
        if failed.code in COMMAND_FAILURES and _is_disk_full(config):
            raise StepFailed("DISK_FULL", f"The disk is full. {failed.detail}") from failed
        raise
    except (StepStopped, PipelineRestart, ClaimLost):
        raise
    # Not only Exception: the time limit of django-q2 raises a subclass of SystemExit.
    except BaseException:
        _log_traceback(config, log)
        raise


@contextmanager
def _stop_at_shutdown() -> Iterator[None]:
    """Raise StepStopped for a failure while the worker ends: the shutdown may have caused it."""
    try:
        yield
    except (OSError, Refused, StepFailed):
        if shutdown.wait_for_notice():
            raise StepStopped from None
        raise


def _log_traceback(config: Config, log: Path) -> None:
    with suppress(OSError), log.open("a") as file:  # the original exception must rise
        file.write(read_masks(config).mask(traceback.format_exc()))


def _is_disk_full(config: Config) -> bool:
    return shutil.disk_usage(config.var).free < DISK_FULL_BYTES
