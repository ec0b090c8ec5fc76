"""The control API as this host's operator: plain requests over loopback, as the runbook's curl."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from host.errors import Refused

ANSWER_SECONDS = 30.0
LOOK_SECONDS = 0.25
UNDER_WAY = ("queued", "preparing", "approved", "merging", "deploying")
Json = Any


@dataclass(frozen=True)
class Client:
    """Asks the API on that port."""

    port: int
    told: dict[str, set[str]] = field(default_factory=dict)

    def get(self, path: str) -> Json:
        """Return what GET answers. Raises Refused with the answer's own code and sentence."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Json | None = None) -> Json:
        """Return what POST answers. Raises Refused with the answer's own code and sentence."""
        return self._ask("POST", path, body or {})

    def _ask(self, method: str, path: str, body: Json | None) -> Json:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=ANSWER_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = _object(error.read())
            code, detail = said.get("error", "unknown"), said.get("detail", str(error))
            raise Refused(code, f"{method} {path}: {detail}", status=error.code) from error
        except OSError as error:
            raise Refused("api_unreachable", f"The API does not answer: {error}.") from error

    def follow(self, run_id: str, tell: Callable[[str], None], seconds: float) -> Json:
        """Wait while the run is on its way by itself, telling what is new; return it as it ends.

        Raises Refused `run_too_slow`.
        """
        told = self.told.setdefault(run_id, set())
        deadline = time.monotonic() + seconds
        while True:
            run = self.get(f"/api/runs/{run_id}")
            for line in _news(run):
                if line not in told:
                    told.add(line)
                    tell(line)
            if run["status"] not in UNDER_WAY:
                return run
            if time.monotonic() > deadline:
                raise Refused(
                    "run_too_slow", f"The run is still {run['status']} after {seconds:.0f} s."
                )
            time.sleep(LOOK_SECONDS)

    def wait_until_free(self, slot_id: str, seconds: float) -> None:
        """Wait until the slot is clean and free again. Raises Refused `slot_not_free`."""
        deadline = time.monotonic() + seconds
        while True:
            slots = self.get("/api/slots")
            state = next(slot["state"] for slot in slots if slot["slot_id"] == slot_id)
            if state == "free":
                return
            if time.monotonic() > deadline:
                raise Refused("slot_not_free", f"{slot_id} is {state} after {seconds:.0f} s.")
            time.sleep(LOOK_SECONDS)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _news(run: Json) -> list[str]:
    """Return the lines there are to tell about the run by now."""
    steps = [
        f"  {step['name']}: {step['status']}" + _duration(step)
        for step in run["steps"]
        if step["status"] != "running"
    ]
    return [*steps, f"  run is {run['status']}"]


def _duration(step: Json) -> str:
    return "" if step["seconds"] is None else f", {step['seconds']:.1f} s"
