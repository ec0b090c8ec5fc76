"""Takes a clean checkout to a preview of a branch, and with `ship` to its merge. May be repeated.

If GIT_REMOTE_URL is set at the first start, the stack previews that repository: `main` is shipped,
and the demo is left out.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from host import config as configuration
from host import http_client
from host.config import Config
from host.errors import Refused
from host.files import log_files, safe_files
from host.masking.known_secrets import read_masks
from host.process import runner
from host.units import control_units
from ops import demo, detect, env_files, live_release, progress, setup_command, stack
from ops.api_client import ApiClient, Json
from ops.doctor import forge_checks, secret_files

BRANCH = "feature/reactions"
TITLE = "Reactions on the guestbook's entries"
FEATURE_MARKER = b'class="react"'  # only that branch's page has it
STEPS_ALLOWED = 4  # the queue, too, ends a task after four times STEP_TIMEOUT_SECONDS
CLEANUP_SECONDS = 30.0
LAST_LINES = 20


def run_quickstart(environ: Mapping[str, str], *, ship: bool) -> int:
    """Set up and start the stack, prepare the demo's preview, and print where to look.

    `environ` is the caller's environment. Returns the exit code.
    """
    config = prepare()
    with progress.step("Setting up the control plane"):
        env = control_units.filter_environment(environ)
        password_lines = setup_command.run_setup(config, sys.executable, env)
    try:
        stack.start_all(config, environ)
        ship_first_release(config, environ)
        client = ApiClient(config.api_port)
        run = prepare_preview(config, client) if demo.is_demo(config) else None
        if ship and run is not None and run["status"] != "merged":
            run = ship_preview(config, client, run)
    finally:
        # Whatever fails after the setup: the password is stored nowhere in clear text.
        sys.stdout.writelines(f"{line}\n" for line in password_lines)
    sys.stdout.write("\n".join(build_summary(config, run, find_live_release_id(client))) + "\n")
    return 0


def prepare() -> Config:
    """Create the demo's remote, the env files, and the database server's roles and database.

    Before the server is started it prints what is recognized in a repository of one's own.
    """
    config = configuration.load()
    if demo.is_demo(config):
        demo.create_remote(config)
    env_files.write_missing_files(config, demo.remote_path(config))
    for sentence in env_files.keep_shell_settings(config):
        progress.print_line(f"  Note: {sentence}")
    config = configuration.load()  # with the values of the files just written
    for sentence in env_files.describe_values(config.env_dir):
        progress.print_line(f"  Note: {sentence}")
    if not demo.is_demo(config) and not has_release(config):
        detect.print_target_branch(config)
    for sentence in describe_forge(config):
        progress.print_line(f"  Note: {sentence}")
    with progress.step("Starting PostgreSQL"):
        cluster = stack.get_cluster(config)
        cluster.start()
        role, password = env_files.parse_role(config.database_url)
        cluster.ensure_role(role, password)
        cluster.ensure_database("oroboros", role)
        admin, admin_password = env_files.parse_role(config.preview_admin_database_url)
        cluster.ensure_role(admin, admin_password, "CREATEDB", "CREATEROLE")
        cluster.close_to_public({"postgres": [admin], "template1": [], "oroboros": [role]})
    return config


def describe_forge(config: Config) -> Iterator[str]:
    """Yield what the doctor finds of the forge, with what to do; nothing if none is set.

    A fault stops nothing: without its forge the stack previews what people ask for.
    """
    if config.get("FORGE"):
        for found in (*secret_files.check_files(config), *forge_checks.check_forge(config)):
            remedy = "" if found.is_ok else f". {found.remedy}"
            yield read_masks(config).mask(f"{found.subject}: {found.observed}{remedy}")


def ship_first_release(config: Config, environ: Mapping[str, str]) -> None:
    """Ship the target branch as the first release, unless a release is live.

    Raises Refused `deploy_failed` with the last lines of this attempt.
    """
    if has_release(config):
        return
    branch, log = config.target_branch, config.var / "log" / "deploy.log"
    since, seconds = log_files.read_size(log), read_run_seconds(config)
    with progress.step(f"Shipping {branch} as the first release ({log})") as report_waiting:
        argv = [sys.executable, str(config.home / "manage.py"), "deploy", branch]
        outcome = runner.run(
            [*argv, "--reason", "the first release"],
            cwd=config.home,
            log=log,
            timeout=seconds,
            env=control_units.filter_environment(environ),
            stop=follow_log(log, since, report_waiting),
        )
    if outcome.timed_out:
        detail = f"after {seconds:.0f} s, four times STEP_TIMEOUT_SECONDS: raise it in worker.env"
        raise Refused("deploy_failed", f"Shipping {branch} was ended {detail}; see {log}.")
    if outcome.exit_code != 0:
        lines = safe_files.read_tail(log, LAST_LINES, since=since)
        raise Refused("deploy_failed", f"Shipping {branch} failed; the end of {log}:\n{lines}")
    for note in live_release.read_notes(config):
        progress.print_line(f"  note: {note}")


def has_release(config: Config) -> bool:
    """Return whether a release is live, so that this is not the first start."""
    return (config.var / "current").exists()


def read_run_seconds(config: Config) -> float:
    """Return how long quickstart waits for a run; the limits of its steps end it sooner."""
    return STEPS_ALLOWED * config.get_integer("STEP_TIMEOUT_SECONDS", 1800)


def follow_log(log: Path, since: int, report_waiting: Callable[..., bool]) -> Callable[[], bool]:
    """Return the `stop` of a command that prints what it adds to the log after the byte `since`.

    The last line, the command's JSON result, is not printed.
    """
    printed = since

    def print_new_lines() -> bool:
        nonlocal printed
        text = safe_files.read_tail(log, since=printed)
        printed = log_files.read_size(log)
        for line in text.splitlines():
            if not line.startswith("{"):
                progress.print_line(f"  {line}")
        return report_waiting()

    return print_new_lines


def prepare_preview(config: Config, client: ApiClient) -> Json:
    """Return the demo branch's run with its preview ready, or the run that merged it.

    An open run of the branch is taken again. Raises Refused `run_failed`, `run_too_slow`.
    """
    # Newest first, so that a repeated quickstart continues with its last run.
    runs = client.get(f"/api/runs?branch={BRANCH}")["results"]
    open_runs = [run for run in runs if run["prepare"] and run["ended_at"] is None]
    merged = [run for run in runs if run["status"] == "merged"]
    if open_runs:
        run = open_runs[0]
    elif merged:
        return merged[0]
    else:
        run = client.post("/api/runs", {"branch": BRANCH, "title": TITLE})
    with progress.step(f"Preparing the preview of {BRANCH}"):
        run = client.follow_run(run["id"], progress.print_line, read_run_seconds(config))
    return require_status(run, "preview_ready", "merged")


def ship_preview(config: Config, client: ApiClient, run: Json) -> Json:
    """Approve the run, wait until it is merged, and check that production serves the feature.

    Raises Refused `run_failed`, `run_too_slow`, `slot_not_free`, `not_live`.
    """
    slot_id = run["slot_id"]
    with progress.step("Approved the run; shipping it"):
        client.post(f"/api/runs/{run['id']}/approve", {"commit_sha": run["commit_sha"]})
        run = client.follow_run(run["id"], progress.print_line, read_run_seconds(config))
        require_status(run, "merged")
        # The slot is cleaned after `merged`; a second quickstart would otherwise find it taken.
        client.wait_until_slot_is_free(slot_id, CLEANUP_SECONDS)
    page = http_client.get(config.web_port, "/", limit=None)
    commit = page.headers.get("x-oroboros-commit")
    if FEATURE_MARKER not in page.body or commit != run["candidate_sha"]:
        raise Refused("not_live", f"Port {config.web_port} does not serve {BRANCH}: {commit}.")
    progress.print_line(
        f"  Port {config.web_port} serves {commit}, with {BRANCH}; {slot_id} is free"
    )
    return run


def require_status(run: Json, *statuses: str) -> Json:
    """Return the run if it has one of the statuses. Raises Refused `run_failed` with its reason."""
    if run["status"] in statuses:
        return run
    reason = f"{run['failure_code']}: {run['failure_detail']} {run['next_action']}"
    raise Refused("run_failed", f"The run of {run['branch']} is {run['status']}. {reason}")


def find_live_release_id(client: ApiClient) -> str:
    """Return the id of the live release; after a rollback that is not the merged run's release."""
    releases = client.get("/api/releases")["results"]
    return next(
        (release["release_id"] for release in releases if release["status"] == "live"),
        "an older one",
    )


def build_summary(config: Config, run: Json | None, live_release_id: str) -> list[str]:
    """Return the lines that say where to look and how to stop."""
    lines = [
        "",
        f"Admin               {config.admin_url}",
        "                    a new password: .venv/bin/python manage.py setup_people --reset",
        f"Production app      http://localhost:{config.web_port}",
        f"                    live is release {live_release_id}",
    ]
    lines += _describe_preview(config, run)
    lines += ["Stop all of it      ./scripts/runtime-down.sh"]
    if not config.is_root:
        lines += [
            "",
            "You are not root, so previews run as your user: preview only code you trust.",
        ]
    return lines


def _describe_preview(config: Config, run: Json | None) -> list[str]:
    if run is None:
        return [f"Preview a branch    {config.admin_url}runs/run/"]
    if run["status"] == "merged":
        return [f"{BRANCH}   is merged, as release {run['release_id']}"]
    return [
        f"Frontend preview    {run['frontend_url']}",
        f"Backend preview     {run['backend_url']}/health",
        f"Look, then approve  {config.admin_url}runs/run/",
    ]
