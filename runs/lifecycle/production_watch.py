"""Tells when production does not answer although its processes run, and when it answers again.

It restarts nothing: a release that is slow under load would lose what it works on. What ends is
told and restarted elsewhere: see `runs.leasing.process_ends` and `releases.deployments.reconciler`.
"""

import json
import time
from dataclasses import dataclass

from host import http_client
from host.config import Config
from releases.models import Deployment
from releases.production import current_link
from runs.engine.events import RECONCILER, record_event

# Of the surface, which asks the live release's servers: docs/operate.md, The health of a surface.
HEALTH_PATH = "/health"
# With the checks' interval of 5 s silence is told within 15 s.
PROBE_SECONDS = 3.0


@dataclass
class ProductionWatch:
    """Checks production; what it found before is kept for as long as the worker runs."""

    config: Config
    probe_seconds: float = PROBE_SECONDS
    # When the first of the failed probes in a row began.
    silent_since: float | None = None
    is_recorded: bool = False

    def check(self) -> None:
        """Probe once; record silence at the second failed probe in a row, and its end."""
        began = time.monotonic()
        reason = self._find_fault()
        if not reason:
            if self.is_recorded:
                record_event("production_answers", "production answers again", actor=RECONCILER)
            self.silent_since, self.is_recorded = None, False
        elif self.silent_since is None:
            self.silent_since = began
        elif not self.is_recorded and not Deployment.objects.running().exists():
            seconds = time.monotonic() - self.silent_since
            text = f"production has not answered for {seconds:.0f} s: {reason}"
            record_event("production_silent", text, actor=RECONCILER)
            self.is_recorded = True

    def _find_fault(self) -> str:
        """Return why production does not answer; "" if it does, or if no release is live."""
        if current_link.read(self.config) is None:
            return ""
        try:
            answer = http_client.get(self.config.web_port, HEALTH_PATH, seconds=self.probe_seconds)
        except (OSError, ValueError) as error:
            return str(error) or type(error).__name__
        return "" if answer.status == 200 else _describe(answer)


def _describe(answer: http_client.Response) -> str:
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = {}
    reason = body.get("detail") or body.get("reason") if isinstance(body, dict) else ""
    return f"its surface answers {answer.status}{f' ({reason})' if reason else ''}"
