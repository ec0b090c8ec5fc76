"""What the shell's commands on releases share: one JSON object on stdout, words on stderr."""

import getpass
import json
import os
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from host.config import Config
from host.errors import Refused
from releases.builds.build import BuildFailed
from releases.deployments.switch import ActivationFailed
from releases.production.database import MigrationFailed


@dataclass(frozen=True)
class Answer:
    """What a command answers; with an `error` the exit code is 1."""

    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def refused(cls, code: str, detail: str, **facts: Any) -> "Answer":
        """A rule said no."""
        return cls({"detail": detail, **facts}, code)


class JsonCommand(BaseCommand, ABC):
    """A command whose `answer` is printed as one JSON object; exit 0 only if it is done."""

    requires_system_checks: list[str] = []
    config: Config

    def handle(self, *args: Any, **options: Any) -> None:
        self.config = settings.OROBOROS
        try:
            answer = self.answer(**options)
        except Refused as refused:
            answer = Answer.refused(refused.code, refused.detail)
        except BuildFailed as failed:
            answer = Answer.refused(failed.code.lower(), failed.detail)
        except MigrationFailed as failed:
            answer = Answer.refused("restore_failed", str(failed))
        except ActivationFailed as failed:
            code = "release_stuck" if failed.is_stuck else "deploy_healthcheck_failed"
            answer = Answer.refused(code, failed.detail, guidance=failed.guidance)
        self._print(answer)

    @abstractmethod
    def answer(self, *args: Any, **options: Any) -> Answer:
        """Do it. Raises what `handle` translates."""

    def say(self, text: str) -> None:
        """Tell a person, on stderr."""
        self.stderr.write(text, style_func=str)

    def asks(self, question: str) -> str:
        """Ask on a terminal; elsewhere the answer is empty."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return ""
        self.stderr.write(question, style_func=str, ending="")
        return sys.stdin.readline().strip()

    def confirms(self, question: str) -> bool:
        """Ask for a yes on a terminal; elsewhere it is no."""
        return self.asks(f"{question} [y/N] ").lower() in ("y", "yes")

    def _print(self, answer: Answer) -> None:
        name = type(self).__module__.rpartition(".")[2]
        head = {"ok": not answer.error, "command": name}
        if answer.error:
            head["error"] = answer.error
            self.say(answer.facts["detail"])
        self.stdout.write(json.dumps({**head, **answer.facts}))
        if answer.error:
            sys.exit(1)


def shell_actor() -> str:
    """Return who types: the person behind a sudo where there is one."""
    return os.environ.get("SUDO_USER") or getpass.getuser()
