"""The base class of management commands that print one JSON object; messages go to stderr."""

import json
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from host.config import Config
from host.errors import Refused
from host.masking.known_secrets import read_masks
from releases.builds.build import BuildFailed
from releases.deployment_failures import choose_deployment_error
from releases.deployments.deployment_steps import DeploymentFailed
from releases.production.restore_point import RestorePointFailed


@dataclass(frozen=True)
class CommandResult:
    """The fields that a command prints. With an `error` code the exit code is 1."""

    fields: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def from_error(cls, code: str, detail: str, **fields: Any) -> "CommandResult":
        """Return a failure: its stable code and a sentence for people."""
        return cls({"detail": detail, **fields}, code)


class JsonCommand(BaseCommand, ABC):
    """Prints what `run_command` returns as JSON; the exit code is 0 only if it succeeded."""

    # The checks import the URLs of all apps, which takes longer than most of these commands.
    requires_system_checks: list[str] = []
    config: Config

    def handle(self, *args: Any, **options: Any) -> None:
        self.config = settings.OROBOROS
        try:
            result = self.run_command(**options)
        except Refused as refused:
            result = CommandResult.from_error(refused.code, refused.detail)
        except BuildFailed as failed:
            result = CommandResult.from_error(failed.code.lower(), failed.detail)
        except RestorePointFailed as failed:
            result = CommandResult.from_error("restore_failed", str(failed))
        except DeploymentFailed as failed:
            code = choose_deployment_error(failed.detail, is_stuck=failed.is_stuck)
            result = CommandResult.from_error(code, failed.detail, guidance=failed.guidance)
        self._print(result)

    @abstractmethod
    def run_command(self, *args: Any, **options: Any) -> CommandResult:
        """Do the work. Its refusals and failures are translated by `handle`."""

    def write_message(self, text: str) -> None:
        """Write a message for people to stderr."""
        # style_func: Django would print stderr in red on a terminal.
        self.stderr.write(text, style_func=str)

    def prompt(self, question: str) -> str:
        """Return the answer typed on a terminal; "" if there is no terminal."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):  # stdout is for the JSON
            return ""
        self.stderr.write(question, style_func=str, ending="")
        return sys.stdin.readline().strip()

    def confirm(self, question: str) -> bool:
        """Return whether "y" or "yes" was typed; False if there is no terminal."""
        return self.prompt(f"{question} [y/N] ").lower() in ("y", "yes")

    def _print(self, result: CommandResult) -> None:
        name = type(self).__module__.rpartition(".")[2]
        head = {"ok": not result.error, "command": name}
        fields = read_masks(self.config).mask_data(result.fields)
        if result.error:
            head["error"] = result.error
            self.write_message(fields["detail"])
        self.stdout.write(json.dumps({**head, **fields}))
        if result.error:
            sys.exit(1)
