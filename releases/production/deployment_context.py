"""What the steps of one deployment share: its row, the claim on it, its log, and when to stop."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.claims import Claim
from host.config import Config
from host.masking.known_secrets import read_masks
from releases.models import Deployment, DeploymentLost, Release
from releases.production.deploy_settings import DeploySettings


@dataclass
class DeploymentContext:
    """The deployment whose steps a process runs now; `progress` is called with what is done."""

    config: Config
    deployment: Deployment
    claim: Claim
    log: Path
    settings: DeploySettings
    stop: Callable[[], bool]
    progress: Callable[[str], None]
    # By which the release that this one replaces was made live; None if nothing was live.
    previous_deployment: Deployment | None = field(init=False)

    def __post_init__(self) -> None:
        self.previous_deployment = Deployment.objects.latest_switch_to(
            self.deployment.previous, before=self.deployment
        )

    @property
    def release(self) -> Release:
        return self.deployment.release

    @property
    def job_mark(self) -> str:
        """The mark of this deployment's commands, the same in every process that runs it.

        Every process of the host with that mark is killed, so it names our folder too: another
        checkout on the host counts its deployments as we do.
        """
        return f"deployment:{self.deployment.number}:{self.config.var}"

    def is_stopping(self) -> bool:
        """Return whether running commands must end: the claim is lost or the caller stops."""
        return self.claim.is_lost or self.stop()

    def raise_if_stopping(self) -> None:
        """Raise DeploymentLost before the next effect if the process must stop."""
        if self.is_stopping():
            raise DeploymentLost

    def report_progress(self, text: str) -> None:
        """Report the present step to the caller, the row and the log. Raises DeploymentLost."""
        self.raise_if_stopping()
        text = read_masks(self.config).mask(text)
        append_to_log(self.log, text)
        self.progress(text)
        self.deployment.record_progress(self.claim, text)


def append_to_log(log: Path, text: str) -> None:
    """Add a line to a log. A full disk is ignored: it must not stop the undoing of a deployment."""
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(text.rstrip("\n") + "\n")


def deployment_log_path(config: Config, deployment: Deployment) -> Path:
    """Return the log of a deployment that belongs to no run."""
    return config.var / "log" / "releases" / f"activation-{deployment.number}.log"
