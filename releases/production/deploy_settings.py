"""The operator's settings of deployments (DEPLOY_*): hooks and limits of time. No Django."""

from dataclasses import dataclass, replace

from host.app import command_line
from host.app.command_line import Argv, CommandLineInvalid
from host.config import Config
from host.errors import Refused
from host.service_user import OWN_UNITS


@dataclass(frozen=True)
class DeploySettings:
    """The hooks as argv (None if not set) and the limits of time in seconds."""

    reload_command: Argv | None
    reload_seconds: float
    healthcheck_command: Argv | None
    healthcheck_seconds: float
    health_seconds: float
    start_seconds: float
    drain_seconds: float
    asset_seconds: float

    @property
    def reload_restarts_oroboros(self) -> bool:
        """Whether the hook restarts our own services: the application is Oroboros itself."""
        return any(OWN_UNITS.search(word) for word in self.reload_command or ())

    @classmethod
    def read(cls, config: Config) -> "DeploySettings":
        """Return the settings. Raises Refused `setting_invalid` for a bad duration or hook."""
        return cls(
            reload_command=_read_argv(config, "DEPLOY_BACKEND_RELOAD_CMD"),
            reload_seconds=config.get_seconds(
                "DEPLOY_BACKEND_RELOAD_TIMEOUT", 60, allows_none=False
            ),
            healthcheck_command=_read_argv(config, "DEPLOY_BACKEND_HEALTHCHECK_CMD"),
            healthcheck_seconds=config.get_seconds(
                "DEPLOY_BACKEND_HEALTHCHECK_TIMEOUT", 20, allows_none=False
            ),
            health_seconds=config.get_seconds("DEPLOY_HEALTH_SECONDS", 3),
            start_seconds=config.get_seconds("DEPLOY_START_SECONDS", 60, allows_none=False),
            drain_seconds=config.get_seconds("DEPLOY_DRAIN_SECONDS", 30),
            asset_seconds=config.get_seconds("DEPLOY_PREVIOUS_ASSETS_SECONDS", 3600),
        )

    @classmethod
    def read_or_default(cls, config: Config) -> tuple["DeploySettings", str]:
        """Return the settings and ""; the defaults and the problem if they are invalid."""
        try:
            return cls.read(config), ""
        except Refused as refused:
            # A deployment must be undone even then, which needs the limits of time.
            return cls.read(replace(config, environ={})), refused.detail


def _read_argv(config: Config, name: str) -> Argv | None:
    line = config.get(name)
    try:
        return command_line.parse_command_line(line) if line else None
    except CommandLineInvalid as error:
        raise Refused("setting_invalid", f"{name}: {error}.") from None
