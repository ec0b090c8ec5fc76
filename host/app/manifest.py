"""What an application says about itself, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from host.app.command_line import Argv

CHECK_SECONDS = 600.0
# After SIGTERM, as on Heroku: https://devcenter.heroku.com/articles/dyno-shutdown-behavior
PROCESS_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Check:
    """A command that must succeed before a branch ships; `timeout` in seconds."""

    name: str
    argv: Argv
    timeout: float = CHECK_SECONDS
    directory: str = "."


@dataclass(frozen=True)
class Process:
    """A process type beside `web`, `quantity` of which run, in previews only with `has_preview`.

    `stop_timeout` is in seconds, between SIGTERM and SIGKILL; `directory` relative to the tree.
    With `has_port` it is a server: one process with a PORT of its own, to which routes lead; every
    other one runs in the background. Without a `health_path` any answer of / below 500 is healthy.
    `source` is the file that has its command.
    """

    type: str
    argv: Argv
    directory: str = "."
    quantity: int = 1
    has_preview: bool = True
    stop_timeout: float = PROCESS_STOP_SECONDS
    has_port: bool = False
    health_path: str = ""
    source: str = field(default="Procfile", compare=False)


@dataclass(frozen=True)
class Manifest:
    """What to install, build, check and start. Directories are relative to the tree.

    An empty `..._install` stands for the detected install (see planning.py). Without `web` there is
    no backend; without `frontend_output` the backend serves all pages. `is_health_guess`: the
    application does not state its health path. Without `frontend_spa` the built pages decide
    whether it is a single-page application. `framework` is the detected one of the backend.
    `routes` has for a path beside /api the process type that answers it in place of the built
    frontend; `detected_routes` are paths of the backend's framework, which answers where the
    frontend has no such file. A path stands for itself, with /* at its end for all below it too.
    `extensions` are PostgreSQL's, which exist in the database before `release` runs.
    `env_detected` are variables that the backend's language needs; every other source wins. In
    their values $PORT stands for the port of the process.
    `sources` has for each field the file that says so, and `notes` are sentences for the run's
    page.
    """

    web: Argv | None = None
    release: Argv | None = None
    seed: Argv | None = None
    backend_dir: str = "."
    backend_install: tuple[Argv, ...] = ()
    backend_build: tuple[Argv, ...] = ()
    health_path: str = "/health"
    is_health_guess: bool = False
    stop_timeout: float | None = None
    framework: str = ""
    processes: tuple[Process, ...] = ()
    frontend_dir: str = "."
    frontend_install: tuple[Argv, ...] = ()
    frontend_build: tuple[Argv, ...] = ()
    frontend_output: str | None = None
    frontend_spa: bool | None = None
    routes: Mapping[str, str] = field(default_factory=dict)
    detected_routes: tuple[str, ...] = ()
    storage: Mapping[str, str] = field(default_factory=dict)
    redis: bool = False
    extensions: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_defaults: Mapping[str, str] = field(default_factory=dict)
    env_detected: Mapping[str, str] = field(default_factory=dict)
    env_generated: tuple[str, ...] = ()
    env_required: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    notes: tuple[str, ...] = ()

    def list_detected_variables(self, port: str | None) -> dict[str, str]:
        """Return `env_detected` for a process with that port; None: without those that name it."""
        values = self.env_detected.items()
        return {
            name: value.replace("$PORT", port or "")
            for name, value in values
            if port or "$PORT" not in value
        }

    @property
    def public_dir(self) -> str | None:
        """The folder of the frontend's files once they are built, relative to the tree."""
        if self.frontend_output is None:
            return None
        return str(PurePosixPath(self.frontend_dir, self.frontend_output))
