"""What the operator configured to be run around a switch: the runbook's reload and health hooks."""

from dataclasses import dataclass, replace

from host.app import command_line
from host.app.command_line import Argv, NotArgv
from host.config import Config
from host.errors import Refused
from host.service_user import OURSELVES


@dataclass(frozen=True)
class Hooks:
    """Commands as argv (None: not configured) and how long things may take, in seconds."""

    reload: Argv | None
    reload_seconds: float
    healthcheck: Argv | None
    healthcheck_seconds: float
    health_seconds: float
    start_seconds: float
    drain_seconds: float

    @property
    def restarts_us(self) -> bool:
        """Whether the reload hook restarts the service that runs it: the application is we."""
        return any(OURSELVES.search(word) for word in self.reload or ())

    @classmethod
    def read(cls, config: Config) -> "Hooks":
        """Read them. Raises Refused `setting_invalid` for a bad duration or a shell's command."""
        return cls(
            reload=_argv(config, "DEPLOY_BACKEND_RELOAD_CMD"),
            reload_seconds=config.seconds("DEPLOY_BACKEND_RELOAD_TIMEOUT", 60, allows_none=False),
            healthcheck=_argv(config, "DEPLOY_BACKEND_HEALTHCHECK_CMD"),
            healthcheck_seconds=config.seconds(
                "DEPLOY_BACKEND_HEALTHCHECK_TIMEOUT", 20, allows_none=False
            ),
            health_seconds=config.seconds("DEPLOY_HEALTH_SECONDS", 3),
            start_seconds=config.seconds("DEPLOY_START_SECONDS", 60, allows_none=False),
            drain_seconds=config.seconds("DEPLOY_DRAIN_SECONDS", 2),
        )

    @classmethod
    def read_or_default(cls, config: Config) -> tuple["Hooks", str]:
        """Return what is configured and "", or else nothing of it, and what is wrong with it."""
        try:
            return cls.read(config), ""
        except Refused as refused:
            return cls.read(replace(config, environ={})), refused.detail


def _argv(config: Config, name: str) -> Argv | None:
    line = config.get(name)
    try:
        return command_line.parse(line) if line else None
    except NotArgv as error:
        raise Refused("setting_invalid", f"{name}: {error}.") from None
