"""`scripts/rollback.sh`: asks the API that runs already, for Django takes long to import.

Where no API answers, where a person has to be asked first, or where no worker takes it up, the
command does the work itself: `manage.py rollback`. Either way it is the same code that does it.
"""

import argparse
import getpass
import http.client
import json
import os
import sys
import time
from contextlib import closing
from typing import Any, NoReturn
from urllib.parse import quote

from host import config as configuration
from releases.deployments.plan_text import sentences

API_SECONDS = 10.0
# A worker takes it up within a fraction of a second; after this we do.
PATIENCE_SECONDS = 1.5
LOOK_SECONDS = 0.1


class NoApi(Exception):
    """The control plane does not answer, or not us."""


def main(arguments: list[str]) -> None:
    """Roll back through the API if that can be done at once, else in this process."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("release_id", nargs="?")
    parser.add_argument("--reason", default="")
    parser.add_argument("--accept-schema", action="store_true")
    given, others = parser.parse_known_args(arguments)
    is_asked = sys.stdin.isatty() and not given.reason
    if others or is_asked or not given.release_id or "/" in given.release_id:
        in_process(arguments)
    reason = given.reason or f"shell by {os.environ.get('SUDO_USER') or getpass.getuser()}"
    port = configuration.load().api_port
    place = f"/api/releases/{quote(given.release_id)}"
    try:
        said = accepted(*ask(port, "GET", place))
        for line in sentences(said["rollback"]):
            say(line)
        body = {"reason": reason, "accept_schema": given.accept_schema}
        answer = accepted(*ask(port, "POST", f"{place}/rollback", body))
    except NoApi:
        in_process(arguments)
    follow(port, answer)


def accepted(status: int, answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the API answered; a refusal is told, and ends the command."""
    if status >= 400:
        finish({"error": answer["error"], "detail": answer["detail"]})
    return answer


def follow(port: int, answer: dict[str, Any]) -> NoReturn:
    """Tell the progress until the activation is over, or carry it on here."""
    now, way = answer["activation"], answer["rollback"]
    place = f"/api/releases/{now['release_id']}/activations/{now['number']}"
    begun, told = time.monotonic(), ""
    while now["outcome"] == "running":
        if now["progress"] and now["progress"] != told:
            told = now["progress"]
            say(told)
        if not told and time.monotonic() - begun > PATIENCE_SECONDS:
            say("no worker takes it up: carrying it out here")
            in_process(["--resume", str(now["number"])])
        time.sleep(LOOK_SECONDS)
        try:
            status, looked = ask(port, "GET", place)
        except NoApi:
            status = 0
        if status != 200:
            in_process(["--resume", str(now["number"])])
        now = looked
    if now["outcome"] != "succeeded":
        code = "release_stuck" if now["outcome"] == "stuck" else "deploy_healthcheck_failed"
        finish({"error": code, "detail": now["detail"], "guidance": now["guidance"]})
    say(f"{now['release_id']} is live again after {now['seconds']:.1f} s")
    finish({**way, "seconds": round(now["seconds"], 3)})


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    """Ask the API as the shell of this host. Raises NoApi."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=API_SECONDS)) as link:
        try:
            link.request(method, path, json.dumps(body) if body else None, headers)
            answer = link.getresponse()
            said = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            raise NoApi from None
    is_refusal = 400 <= answer.status < 500 and answer.status not in (401, 403)
    if answer.status >= 400 and not is_refusal:
        raise NoApi
    return answer.status, said


def in_process(arguments: list[str]) -> NoReturn:
    """Become the command that does it all itself."""
    argv = [sys.executable, "manage.py", "rollback", *arguments]
    env = {**os.environ, "OROBOROS_ONLY": "releases"}
    os.execve(sys.executable, argv, env)  # noqa: S606 — no shell is wanted


def say(text: str) -> None:
    """Tell a person."""
    sys.stderr.write(f"{text}\n")


def finish(facts: dict[str, Any]) -> NoReturn:
    """Print the one JSON object and end."""
    if "error" in facts:
        say(facts["detail"])
    print(json.dumps({"ok": "error" not in facts, "command": "rollback", **facts}))
    sys.exit(1 if "error" in facts else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
