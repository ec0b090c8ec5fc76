"""`scripts/rollback.sh`: rolls back through the API, because importing Django takes long.

If no API answers, the user must be prompted, or no worker starts the deployment, this process
becomes `manage.py rollback`, which does the same work itself.
"""

import argparse
import json
import os
import sys
import time
from typing import Any, NoReturn
from urllib.parse import quote

from host import config as configuration
from host import http_client
from host.deadline import Deadline
from host.errors import Refused
from host.terminal import protect_streams
from releases.deployment_failures import choose_deployment_error
from releases.deployments.rollback_plan_text import format_rollback_plan
from releases.shell import get_shell_actor

API_SECONDS = 10.0
# A worker starts a deployment within a fraction of a second. After this, this process does it.
WORKER_SECONDS = 1.5
POLL_SECONDS = 0.1


class ApiUnavailable(Exception):
    """The API does not answer, or does not accept this user."""


def main(arguments: list[str]) -> None:
    """Roll back through the API if possible, else in this process."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("release_id", nargs="?")
    parser.add_argument("--reason", default="")
    parser.add_argument("--accept-schema", action="store_true")
    options, others = parser.parse_known_args(arguments)
    needs_prompt = sys.stdin.isatty() and not options.reason
    # A slash would change the URL; `manage.py rollback` refuses such an id.
    if others or needs_prompt or not options.release_id or "/" in options.release_id:
        become_manage_command(arguments)
    try:
        port = configuration.load().api_port
    except Refused as refused:
        print_result_and_exit({"error": refused.code, "detail": refused.detail})
    try:
        answer = request_rollback(port, options)
    except ApiUnavailable:
        become_manage_command(arguments)
    follow_deployment(port, answer)


def request_rollback(port: int, options: argparse.Namespace) -> dict[str, Any]:
    """Print what the rollback takes back, begin it, and return the API's answer.

    Raises ApiUnavailable.
    """
    reason = options.reason or f"shell by {get_shell_actor()}"
    url_path = f"/api/releases/{quote(options.release_id)}"
    release = exit_if_refused(*request_api(port, "GET", url_path))
    for line in format_rollback_plan(release["rollback"]):
        write_message(line)
    body = {"reason": reason, "accept_schema": options.accept_schema}
    return exit_if_refused(*request_api(port, "POST", f"{url_path}/rollback", body))


def exit_if_refused(status: int, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the API's answer; print a refusal and exit."""
    if status >= 400:
        print_result_and_exit({"error": answer["error"], "detail": answer["detail"]})
    return answer


def follow_deployment(port: int, answer: dict[str, Any]) -> NoReturn:
    """Print the progress until the deployment is over; complete it here if no worker does."""
    deployment, plan = answer["activation"], answer["rollback"]
    number = deployment["number"]
    url_path = f"/api/releases/{deployment['release_id']}/activations/{number}"
    worker_deadline, progress = Deadline(WORKER_SECONDS), ""
    while deployment["outcome"] == "running":
        if deployment["progress"] and deployment["progress"] != progress:
            progress = deployment["progress"]
            write_message(progress)
        if not progress and worker_deadline.has_passed:
            write_message("no worker started it: this process does")
            become_manage_command(["--resume", str(number)])
        time.sleep(POLL_SECONDS)
        newer = read_deployment(port, url_path)
        # As when the reload hook restarts the API: this process then does what is left.
        if newer is None:
            become_manage_command(["--resume", str(number)])
        deployment = newer
    print_outcome_and_exit(deployment, plan)


def read_deployment(port: int, url_path: str) -> dict[str, Any] | None:
    """Return the deployment as the API has it; None if it does not answer with it."""
    try:
        status, deployment = request_api(port, "GET", url_path)
    except ApiUnavailable:
        return None
    return deployment if status == 200 else None


def print_outcome_and_exit(deployment: dict[str, Any], plan: dict[str, Any]) -> NoReturn:
    """Print how the deployment ended, and exit."""
    if deployment["outcome"] != "succeeded":
        print_result_and_exit(
            {
                "error": choose_deployment_error(
                    deployment["detail"], is_stuck=deployment["outcome"] == "stuck"
                ),
                "detail": deployment["detail"],
                "guidance": deployment["guidance"],
            }
        )
    write_message(f"{deployment['release_id']} is live again after {deployment['seconds']:.1f} s")
    print_result_and_exit({**plan, "seconds": round(deployment["seconds"], 3)})


def request_api(
    port: int, method: str, path: str, body: object = None
) -> tuple[int, dict[str, Any]]:
    """Send a request as this host's shell; return status and answer. Raises ApiUnavailable."""
    try:
        if method == "POST":
            response = http_client.post_json(port, path, body, seconds=API_SECONDS, limit=None)
        else:
            headers = {"Accept": "application/json"}
            response = http_client.get(port, path, headers=headers, seconds=API_SECONDS, limit=None)
        answer = json.loads(response.body)
    except (OSError, ValueError):
        raise ApiUnavailable from None
    # 401 and 403: this user is not the host's operator, but may be able to run manage.py.
    is_refusal = 400 <= response.status < 500 and response.status not in (401, 403)
    if response.status >= 400 and not is_refusal:
        raise ApiUnavailable
    return response.status, answer


def become_manage_command(arguments: list[str]) -> NoReturn:
    """Replace this process by `manage.py rollback` with the given arguments."""
    argv = [sys.executable, "manage.py", "rollback", *arguments]
    # Loads only the apps that the command needs, which is faster.
    env = {**os.environ, "OROBOROS_ONLY": "releases"}
    os.execve(sys.executable, argv, env)  # noqa: S606 — no shell is wanted


def write_message(text: str) -> None:
    """Write a message for people to stderr."""
    sys.stderr.write(f"{text}\n")


def print_result_and_exit(fields: dict[str, Any]) -> NoReturn:
    """Print the JSON object of this command and exit, with 1 if it has an `error`."""
    if "error" in fields:
        write_message(fields["detail"])
    print(json.dumps({"ok": "error" not in fields, "command": "rollback", **fields}))
    sys.exit(1 if "error" in fields else 0)


if __name__ == "__main__":
    protect_streams()
    main(sys.argv[1:])
