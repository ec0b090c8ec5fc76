"""Where the artifacts of runs and the logs of the control plane are stored below `var/`."""

from pathlib import Path

from host import log_message
from host.config import Config
from host.files import safe_files
from host.masking.known_secrets import read_masks
from runs.models import Artifact, Run


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


def read_log_end(config: Config, log: Artifact, lines: int) -> str:
    """Return the last lines of a log as a terminal shows them, without secrets."""
    text = safe_files.read_tail(artifacts_folder(config) / log.path, lines)
    return log_message.strip_terminal_codes(read_masks(config).mask(text))


def create_log_path(config: Config, name: str) -> Path:
    """Return the path of the control plane's own log `name`; creates its folder."""
    path = config.var / "log" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
