"""A client of the control API as this host's operator: requests over loopback, without a token."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from host import http_client
from host.deadline import wait_until
from host.errors import Refused

REQUEST_SECONDS = 30.0
POLL_SECONDS = 0.25
# In these statuses the worker acts next; in every other one a person does, or the run has ended.
WORKER_STATUSES = ("queued", "preparing", "approved", "merging", "deploying")
Json = Any


@dataclass(frozen=True)
class ApiClient:
    """Sends requests to the API on that port; remembers the lines reported of each run."""

    port: int
    reported: dict[str, set[str]] = field(default_factory=dict)

    def get(self, path: str) -> Json:
        """Return the JSON answer to GET. Raises Refused with the API's own code and sentence."""
        return self._request("GET", path, None)

    def post(self, path: str, body: Json | None = None) -> Json:
        """Return the JSON answer to POST. Raises Refused with the API's own code and sentence."""
        return self._request("POST", path, body or {})

    def _request(self, method: str, path: str, body: Json | None) -> Json:
        try:
            response = self._send(path, body)
        except (OSError, ValueError) as error:
            raise Refused("api_unreachable", f"The API does not answer: {error}.") from error
        if response.status >= 300:
            problem = _parse_object(response.body)
            code = problem.get("error", "unknown")
            detail = problem.get("detail", f"HTTP status {response.status}")
            raise Refused(code, f"{method} {path}: {detail}", status=response.status)
        return json.loads(response.body)

    def _send(self, path: str, body: Json | None) -> http_client.Response:
        if body is not None:
            # No limit: a list of runs is larger than the client's usual 64 KiB.
            return http_client.post_json(self.port, path, body, seconds=REQUEST_SECONDS, limit=None)
        headers = {"Accept": "application/json"}
        return http_client.get(
            self.port, path, headers=headers, seconds=REQUEST_SECONDS, limit=None
        )

    def follow_run(self, run_id: str, report: Callable[[str], None], seconds: float) -> Json:
        """Wait while the worker works on the run, and return the run after that.

        `report` is called once with each new line about a step or the status. Raises Refused
        `run_too_slow` after `seconds`.
        """
        run: Json = None

        def is_waiting_for_others() -> bool:
            nonlocal run
            run = self.get(f"/api/runs/{run_id}")
            self._report_new_lines(run_id, run, report)
            return run["status"] not in WORKER_STATUSES

        if not wait_until(is_waiting_for_others, seconds=seconds, interval=POLL_SECONDS):
            detail = f"The run is still {run['status']} after {seconds:.0f} s."
            raise Refused("run_too_slow", detail)
        return run

    def _report_new_lines(self, run_id: str, run: Json, report: Callable[[str], None]) -> None:
        reported = self.reported.setdefault(run_id, set())
        for line in _describe_progress(run):
            if line not in reported:
                reported.add(line)
                report(line)

    def wait_until_slot_is_free(self, slot_id: str, seconds: float) -> None:
        """Wait until the slot is clean and free. Raises Refused `slot_not_free` after `seconds`."""

        def is_free() -> bool:
            return self._read_slot_state(slot_id) == "free"

        if not wait_until(is_free, seconds=seconds, interval=POLL_SECONDS):
            state = self._read_slot_state(slot_id)
            raise Refused("slot_not_free", f"{slot_id} is {state} after {seconds:.0f} s.")

    def _read_slot_state(self, slot_id: str) -> str:
        return next(slot["state"] for slot in self.get("/api/slots") if slot["slot_id"] == slot_id)


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _describe_progress(run: Json) -> list[str]:
    """Return a line for each finished step of the run, for each note, and for its status."""
    steps = [
        f"  {step['name']}: {step['status']}" + _format_step_duration(step)
        for step in run["steps"]
        if step["status"] != "running"
    ]
    notes = [f"  note: {note}" for note in run["notes"]]
    return [*steps, *notes, f"  run is {run['status']}"]


def _format_step_duration(step: Json) -> str:
    return "" if step["seconds"] is None else f", {step['seconds']:.1f} s"
