"""The preview's answer through its web port."""

from typing import Any

from host import http_client
from host.config import SlotConfig
from host.deadline import wait_until
from host.units.listeners import find_foreign_listener
from runs.engine.step_context import StepContext, StepResult
from runs.engine.step_errors import StepFailed

# Answered by the surface, never by the application (infra/caddy/Surface.Caddyfile).
IDENTITY_PATH = "/.well-known/oroboros"
PROBE_TIMEOUT_SECONDS = 15.0
PROBE_INTERVAL_SECONDS = 0.05
# The status counts: an event stream at / never ends.
BODY_SECONDS = 0.5


def wait_for_answer(context: StepContext, slot: SlotConfig) -> StepResult:
    """Request the preview at the run's host name until it answers as this run.

    Raises StepFailed BACKEND_UNHEALTHY after 15 s, with the last answer.
    """
    run = context.run
    host = context.config.frontend_address(slot, run.label)
    problem = ""

    def request() -> dict[str, Any] | None:
        nonlocal problem
        foreign = find_foreign_listener(slot.web_port)
        if foreign:
            problem = f"it is also held by {foreign}"
            return None
        try:
            response = http_client.get(slot.web_port, "/", host=host, body_seconds=BODY_SECONDS)
        except (OSError, ValueError) as error:
            problem = str(error)
            return None
        # A redirect or a 404 is an answer of the application too.
        if response.status < 500 and response.headers.get("x-oroboros-run") == str(run.pk):
            return {"status": response.status}
        problem = f"status {response.status}"
        return None

    answer = wait_until(
        request,
        seconds=PROBE_TIMEOUT_SECONDS,
        interval=PROBE_INTERVAL_SECONDS,
        stop=context.is_stopping,
    )
    context.raise_if_stopping()
    if answer is None:
        detail = f"Port {slot.web_port} did not show the preview: {problem}."
        raise StepFailed("BACKEND_UNHEALTHY", detail)
    return answer
