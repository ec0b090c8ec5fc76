"""From a clean checkout to a preview of a real branch, on to merged. All of it may run again.

With GIT_REMOTE_URL in the shell at the first start it is the team's own repository, of which `main`
is shipped; the demo is left out.
"""

import os
import sys
import urllib.request

from host import config as configuration
from host.config import Config
from host.errors import Refused
from host.files import safe_files
from host.postgres import administration
from host.process import runner
from ops import demo, env_files, progress, stack
from ops.api_client import Client, Json

BRANCH = "feature/reactions"
TITLE = "Reactions on the guestbook's entries"
MARK = b'class="react"'  # what only that branch's page has
MANAGE_SECONDS = 300.0
RUN_SECONDS = 300.0
CLEAN_SECONDS = 30.0
LAST_LINES = 20


def run(*, ship: bool) -> int:
    """Do all of it and say where to look. Returns the exit code."""
    config = prepare()
    said = setup(config)
    try:
        stack.up(config)
        release_main(config)
        client = Client(config.api_port)
        found = preview(client) if is_demo(config) else None
        if ship and found is not None and found["status"] != "merged":
            found = merge(config, client, found)
    finally:
        for line in said:  # the password is nowhere else
            sys.stdout.write(f"{line}\n")
    sys.stdout.write("\n".join(summary(config, found, live(client))) + "\n")
    return 0


def prepare() -> Config:
    """Make the demo's remote, the env files, and the database server's roles and database."""
    config = configuration.load()
    if is_demo(config):
        demo.make(config)
    env_files.make(config, demo.remote(config))
    config = configuration.load()
    with progress.step("Starting PostgreSQL"):
        cluster = stack.cluster(config)
        cluster.start()
        role, password = env_files.role(config.database_url)
        cluster.ensure_role(role, password)
        cluster.ensure_database("oroboros", role)
        admin, secret = env_files.role(config.preview_admin_database_url)
        cluster.ensure_role(admin, secret, "CREATEDB", "CREATEROLE")
        administration.close_to_public(
            cluster.url("postgres"), {"postgres": [admin], "template1": [], "oroboros": [role]}
        )
    return config


def is_demo(config: Config) -> bool:
    """Say whether no other repository than the demo's was named."""
    return config.git_remote_url in ("", str(demo.remote(config)))


def setup(config: Config) -> list[str]:
    """Bring tables, static files, people and slots up to date; returns what is to be told."""
    with progress.step("Setting up the control plane"):
        argv = [sys.executable, str(config.home / "manage.py"), "setup"]
        env = stack.control_environment(os.environ)
        done = runner.capture(argv, cwd=config.home, timeout=MANAGE_SECONDS, env=env)
    if done.exit_code != 0:
        raise Refused("setup_failed", f"manage.py setup failed:\n{done.stderr.decode()[-4000:]}")
    return [line for line in done.stdout.decode().splitlines() if ", password " in line]


def release_main(config: Config) -> None:
    """Ship main as the first release, unless something is live."""
    if (config.var / "current").exists():
        return
    log = config.var / "log" / "deploy.log"
    with progress.step("Shipping main as the first release") as waiting:
        argv = [sys.executable, str(config.home / "manage.py"), "deploy", config.target_branch]
        outcome = runner.run(
            [*argv, "--reason", "the first release"],
            cwd=config.home,
            log=log,
            timeout=MANAGE_SECONDS,
            env=stack.control_environment(os.environ),
            stop=waiting,
        )
    if outcome.exit_code != 0:
        lines = safe_files.read_tail(log, LAST_LINES)
        raise Refused("deploy_failed", f"Shipping main failed; the end of {log}:\n{lines}")


def preview(client: Client) -> Json:
    """Take the branch to its preview, or return the run that has it, or has shipped it."""
    runs = client.get(f"/api/runs?branch={BRANCH}")["results"]
    open_runs = [found for found in runs if found["prepare"] and found["ended_at"] is None]
    shipped = [found for found in runs if found["status"] == "merged"]
    if open_runs:
        found = open_runs[0]
    elif shipped:
        return shipped[0]
    else:
        found = client.post("/api/runs", {"branch": BRANCH, "title": TITLE})
    with progress.step(f"Taking {BRANCH} to its preview"):
        found = client.follow(found["id"], progress.say, RUN_SECONDS)
    return expect(found, "preview_ready", "merged")


def merge(config: Config, client: Client, found: Json) -> Json:
    """Approve the run, wait for `merged`, and see for ourselves that the feature is live."""
    slot_id = found["slot_id"]
    with progress.step("Approved: shipping it"):
        client.post(f"/api/runs/{found['id']}/approve", {"commit_sha": found["commit_sha"]})
        found = expect(client.follow(found["id"], progress.say, RUN_SECONDS), "merged")
        client.wait_until_free(slot_id, CLEAN_SECONDS)
    with urllib.request.urlopen(f"http://127.0.0.1:{config.web_port}/") as page:
        commit, shown = page.headers.get("X-Oroboros-Commit"), page.read()
    if MARK not in shown or commit != found["candidate_sha"]:
        raise Refused("not_live", f"Port {config.web_port} does not serve {BRANCH}: {commit}.")
    progress.say(f"  Port {config.web_port} serves {commit}, with {BRANCH}; {slot_id} is free")
    return found


def expect(found: Json, *statuses: str) -> Json:
    """Return the run if it ended up as it should. Raises Refused `run_failed` with its reason."""
    if found["status"] in statuses:
        return found
    reason = f"{found['failure_code']}: {found['failure_detail']} {found['next_action']}"
    raise Refused("run_failed", f"The run of {found['branch']} is {found['status']}. {reason}")


def live(client: Client) -> str:
    """Return the release that serves now: after a rollback it is not the run's own."""
    newest = client.get("/api/releases")["results"]
    return next((one["release_id"] for one in newest if one["status"] == "live"), "an older one")


def summary(config: Config, found: Json | None, live_now: str) -> list[str]:
    """Return where to look: the result, so for stdout, where progress is on stderr."""
    lines = [
        "",
        f"Admin               http://127.0.0.1:{config.api_port}/admin/",
        "                    a new password: .venv/bin/python manage.py setup_people --reset",
        f"Production app      http://localhost:{config.web_port}",
        f"                    live is release {live_now}",
    ]
    if found is None:
        lines += [f"Preview a branch    http://127.0.0.1:{config.api_port}/admin/runs/run/"]
    elif found["status"] == "merged":
        lines += [f"{BRANCH}   is merged, as release {found['release_id']}"]
    else:
        lines += [
            f"Frontend preview    {found['frontend_url']}",
            f"Backend preview     {found['backend_url']}/health",
            f"Look, then approve  http://127.0.0.1:{config.api_port}/admin/runs/run/",
        ]
    lines += ["Stop all of it      ./scripts/runtime-down.sh"]
    if not config.is_root:
        lines += ["", "You are not root: previews run as you: only branches you trust."]
    return lines
