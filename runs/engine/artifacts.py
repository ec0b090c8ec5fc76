"""Where the artifacts of runs and the logs of the control plane are stored below `var/`."""

import os
from pathlib import Path
from typing import IO

from core.clock import ClockTimestamp
from host import log_message
from host.config import Config
from host.errors import Refused
from host.files import safe_files
from host.masking.known_secrets import read_masks
from releases.production import app_instance
from releases.production.gate_start import GATE
from runs.models import Artifact, Run
from slots.runtime import backend_log


def artifacts_folder(config: Config) -> Path:
    """Return the folder to which `Artifact.path` is relative."""
    return config.var / "artifacts"


def artifact_path(config: Config, run: Run, name: str) -> Path:
    """Return the path of the artifact `name` of the run's current generation.

    The log of a step is an artifact like any other: it is named by `PipelineStep.log_artifact`.
    """
    # With the generation: the logs of a new commit do not replace those of the one before.
    return artifacts_folder(config) / str(run.pk) / f"{run.generation}-{name}"


def relative_artifact_path(config: Config, path: Path) -> str:
    """Return the value of `Artifact.path` for the file `path`."""
    return str(path.relative_to(artifacts_folder(config)))


def write_artifact(
    config: Config, run: Run, name: str, content: bytes, *, step_id: int | None = None
) -> None:
    """Store `content` as the artifact `name` of the run, in place of an earlier one."""
    path = artifact_path(config, run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file before its row: a row without a file would be a link to a 404.
    safe_files.write_atomic(path, content, 0o600)
    record_artifact(config, run, name, step_id=step_id)


def record_artifact(config: Config, run: Run, name: str, *, step_id: int | None = None) -> None:
    """Have the run's artifact `name` lead to its file, which is there."""
    fields = {
        "step_id": step_id,
        "path": relative_artifact_path(config, artifact_path(config, run, name)),
    }
    Artifact.objects.update_or_create(
        run=run,
        generation=run.generation,
        name=name,
        defaults=fields,
        create_defaults={**fields, "created_at": ClockTimestamp()},
    )


def open_artifact(config: Config, artifact: Artifact) -> IO[bytes]:
    """Open the file of the artifact. Raises Refused `artifact_not_found` unless it is a file of it.

    A file with a second hard link is refused as well: a branch's build could have linked a secret.
    The only exceptions are the logs that `StepContext.link_log` links into the artifacts.
    """
    gone = Refused("artifact_not_found", "The artifact's file is gone.", status=404)
    try:
        file = safe_files.open_beneath(artifacts_folder(config), artifact.path)
    except (Refused, OSError):
        raise gone from None
    status = os.fstat(file.fileno())
    if status.st_nlink != 1 and not _is_linked_log(config, status):
        file.close()
        raise gone
    return file


def _is_linked_log(config: Config, found: os.stat_result) -> bool:
    """Return whether it is the log of a slot's backend or of the release in the merge gate."""
    gate = app_instance.log_path(config, GATE)
    is_of_gate = gate.is_file() and os.path.samestat(found, gate.lstat())
    return is_of_gate or backend_log.is_slot_log(config, found)


def read_log_end(config: Config, log: Artifact, lines: int) -> str:
    """Return the last lines of a log as a terminal shows them, without secrets."""
    text = safe_files.read_tail(artifacts_folder(config) / log.path, lines)
    return log_message.strip_terminal_codes(read_masks(config).mask(text))


def create_log_path(config: Config, name: str) -> Path:
    """Return the path of the control plane's own log `name`; creates its folder."""
    path = config.var / "log" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
