"""Runs the commands that an application's manifest names: builds, checks, the seed, `release:`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from host.app import planning
from host.app.planning import Command
from host.config import Config
from host.files import log_files
from host.masking.known_secrets import read_stage_masks
from host.masking.masks import NO_MASKS, Masks
from host.process import runner
from host.process.outcome import Outcome
from host.process.termination import MARK_VARIABLE
from host.process.users import User


class CommandFailed(Exception):
    """A command of an application did not succeed.

    `reason` ends a sentence whose subject is the command; `outcome` is None if the command could
    not be started. The log has the command's output after the byte `log_start`: what is before is
    that of earlier commands and attempts.
    """

    def __init__(
        self, name: str, reason: str, outcome: Outcome | None = None, *, log_start: int = 0
    ) -> None:
        super().__init__(f"{name} {reason}")
        self.reason = reason
        self.log_start = log_start
        self.timed_out = outcome is not None and outcome.timed_out
        self.was_stopped = outcome is not None and outcome.stopped


def run_command(
    command: Command,
    config: Config,
    *,
    root: Path,
    bins: Sequence[Path],
    env: Mapping[str, str],
    log: Path,
    user: User | None,
    stop: Callable[[], bool] | None = None,
    job: str = "",
) -> None:
    """Run a command of a plan in the tree at `root`, as `run_prepared` does.

    Raises CommandFailed, and Refused `command_refused` (400) if it may not be started.
    """
    run_prepared(
        command.name,
        planning.prepare_argv(command, config, root=root, bins=bins, env=env),
        cwd=root / command.cwd,
        env=env,
        log=log,
        user=user,
        timeout=command.timeout,
        stop=stop,
        job=job,
        masks=read_stage_masks(config, command.stage),
    )


def run_prepared(
    name: str,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    user: User | None,
    timeout: float,
    stop: Callable[[], bool] | None = None,
    job: str = "",
    masks: Masks = NO_MASKS,
) -> None:
    """Run `argv`, which `planning.prepare_argv` returned, as `user` and with exactly `env`.

    Its output is appended to `log`. After `timeout` seconds, or when `stop` returns true, it is
    killed. `job` marks its processes, so that they are found after a crash. Raises CommandFailed
    unless it exits with 0.
    """
    marked = {**env, MARK_VARIABLE: job} if job else env
    log_start = log_files.read_size(log)
    try:
        outcome = runner.run(
            argv, cwd=cwd, log=log, timeout=timeout, env=marked, user=user, stop=stop, masks=masks
        )
    # The folder or the program is not in this tree: a check may come from another commit.
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = f"cannot be started: {error}"
        raise CommandFailed(name, reason, log_start=log_start) from error
    if outcome.exit_code != 0:
        raise CommandFailed(name, outcome.failure, outcome, log_start=log_start)
