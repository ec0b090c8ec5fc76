"""A hostile preview reports what it could read or reach of others, which must be nothing."""

import json
import os
import shutil
import sysconfig
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from django.conf import settings
from django.db import connection

from accounts.models import LoginAttempt
from host.files import leftovers, ownership, safe_files, tree_shield
from host.postgres.administration import DatabaseAdmin
from ops import env_files
from runs.lifecycle import execution, operations
from runs.models import Run
from slots.models import Lease
from slots.rules import LeaseState
from tests import service
from tests.accounts.test_host_authentication import send_request
from tests.environment import CLUSTER, PASSWORD
from tests.router import running_router
from tests.slot_leftovers import assert_nothing_is_left

pytestmark = [pytest.mark.root, pytest.mark.full]
ATTACK = Path(__file__).with_name("hostile") / "attack.py"
MANIFEST = """\
[backend]
web = ["python", "attack.py", "serve"]

[frontend]
build = ["python", "attack.py", "build"]
output = "dist"

[checks]
steal = ["python", "attack.py", "check"]
"""
STATEMENTS = [
    "SET ROLE app_preview_2",
    "SET ROLE oroboros_admin",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "CREATE DATABASE stolen",
    "CREATE ROLE stolen",
    "ALTER ROLE app_preview_2 PASSWORD 'stolen'",
    "ALTER DATABASE app_preview_1 OWNER TO app_preview_1",
    "GRANT CONNECT ON DATABASE app_preview_2 TO app_preview_1",
    "SELECT query FROM pg_stat_activity WHERE usename <> current_user AND query NOT LIKE '<%'",
    "CREATE EXTENSION dblink",
    "ALTER SYSTEM SET ssl = off",
]
REQUESTS = [
    ["GET", "/api/runs?cursor=cD1hYmM="],
    ["GET", "/api/slots"],
    ["GET", "/api/runs"],
    ["POST", "/api/slots/preview-2/release"],
    ["POST", "/api/slots/reap-expired"],
    ["POST", "/api/runs"],
]
HOOK = "#!/bin/sh\nid -u > {drop}/$(basename $0)-$(id -u)\n"


@pytest.fixture
def start_control_plane():
    """Return a function that starts the API and the router for a host, and returns their ports."""
    with ExitStack() as stack:

        def start(place):
            database = connection.settings_dict
            # As the set-up closes the real ones, whatever earlier tests left open.
            ownership.restrict_var(settings.OROBOROS)
            CLUSTER.close_to_public({database["NAME"]: [database["USER"]]})
            users = {"OROBOROS_UID_BASE": str(place.config.uid_base)}
            api = stack.enter_context(service.api(**users))
            return api, stack.enter_context(running_router(api))

        yield start


def make_drop(place):
    """A folder that all users may write to; its files show which command ran as which user.

    In `var`, which applications see: they have a /tmp of their own.
    """
    folder = place.config.var / "drop"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def traps(drop):
    """Files of the branch that git would run, were it asked to in there."""
    hook = HOOK.format(drop=drop)
    steal = f"{drop}/filter.sh"
    return {
        ".gitattributes": "* filter=steal diff=steal merge=steal export-subst\n",
        ".gitconfig": f'[filter "steal"]\n\tsmudge = {steal}\n\tclean = {steal}\n',
        ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = ext::{steal}\n\tupdate = !{steal}\n',
        "hooks/post-checkout": hook,
        "hooks/pre-push": hook,
        ".githooks/post-merge": hook,
        "version.txt": "$Format:%H$\n",
    }


def targets(place, api, router, root):
    config = place.config
    other = config.slot("preview-2")
    secrets = [os.environ["SECRET_KEY"], PASSWORD, *secrets_of(config)]
    return {
        "secrets": secrets,
        "roots": [str(root), str(place.folder)],
        "known": str(place.config.var / "drop" / "known.json"),
        # What the tests made around the host, for all users; the runbook's folder of links.
        "open": [
            str(root),
            *(str(place.folder / name) for name in ("", "runtime-logs")),
        ],
        "public": [str(config.var / name) for name in ("cache/installs", "releases")]
        + [str(slot.folder / "activations") for slot in config.slots]
        + [str(place.slot.folder / "worktree.commit")]
        # At which tools end their search in the folders above a tree.
        + [str(config.var / name) for name in tree_shield.FILES],
        # The application's home; the developer's own folders, beside the host's.
        "mine": [
            *(str(path) for path in (place.slot.folder / "home", place.config.var / "drop")),
            *(str(path) for path in (place.remote, place.clone)),
            # Its own output.
            str(place.config.var / "log" / "slots" / f"{place.slot.slot_id}.log"),
        ],
        "packages": sysconfig.get_path("purelib"),
        "postgres_port": config_port(),
        "sockets": sorted({str(path.parent) for path in root.rglob(".s.PGSQL.*")}),
        "databases": [
            connection.settings_dict["NAME"], "oroboros", "postgres", "template1",
            other.database, config.production_database,
        ],
        "statements": STATEMENTS,
        "api_port": api,
        "router_port": router,
        "requests": REQUESTS,
        "ports": [place.config.web_port, *(slot.web_port for slot in place.config.slots)],
        "files": [
            "/etc/shadow",
            "/root",
            *(str(config.var / name) for name in ("env", "env/api.env", "env/worker.env")),
            *(str(config.var / "repo.git" / name) for name in ("", "HEAD", "hooks")),
            *(str(other.folder / name) for name in ("", "spec.json", "environment.json")),
            *(str(place.slot.folder / name) for name in ("environment.json", "backend.lock")),
            str(config.var / "run" / "ouroboros-preview@preview-1.json"),
            str(CLUSTER.data),
        ],
    }  # fmt: skip


def tell(place, root):
    """Tell the attacker every path that is there now."""
    paths = [str(path) for folder in (place.config.var, root) for path in folder.rglob("*")]
    assert {str(place.config.var / name) for name in ("run", "slots/preview-2")} < {*paths}
    (place.config.var / "drop" / "known.json").write_text(json.dumps(paths))


def config_port():
    return int(connection.settings_dict["PORT"])


def secrets_of(config):
    """The secrets of the env files, which quickstart makes."""
    texts = env_files.build_contents(config, config.var)
    (config.var / "env").mkdir(mode=0o700, exist_ok=True)
    for name, text in texts.items():
        safe_files.write_atomic(config.var / "env" / name, text.encode(), 0o600)
    names = ("SECRET_KEY", "DATABASE_URL", "PREVIEW_ADMIN_DATABASE_URL")
    lines = [line for text in texts.values() for line in text.splitlines()]
    return [value for name, _, value in (line.partition("=") for line in lines) if name in names]


def occupy(place):
    """Give the second slot a database, a password and files that are not the first one's."""
    other, admin = place.config.slot("preview-2"), DatabaseAdmin(place.config)
    admin.ensure_role(other.database)
    admin.create(other.database, other.database)
    ownership.allow_traversal(other.folder, place.config.slot_user(other))
    for name in ("spec.json", "environment.json"):
        safe_files.write_atomic(other.folder / name, b"{}", 0o600)
    return other


def test_a_hostile_preview_gets_nothing(host, tmp_path, start_control_plane):
    application = tmp_path / "application"
    application.mkdir()
    (application / "oroboros.toml").write_text(MANIFEST.partition("\n[checks]")[0])
    shutil.copy(ATTACK, application)
    (application / "targets.json").write_text(json.dumps({"secrets": []}))
    place = host(application)
    api, router = start_control_plane(place)
    root, drop = Path(CLUSTER.folder.parent), make_drop(place)
    occupy(place)
    (drop / "filter.sh").write_text(HOOK.format(drop=drop))
    (drop / "filter.sh").chmod(0o755)
    branch = traps(drop) | {
        "oroboros.toml": MANIFEST,
        "targets.json": json.dumps(targets(place, api, router, root)),
    }
    tell(place, root)
    run = place.preview("feature/hostile", branch)
    # The same requests are the operator's when root makes them: it is the door that is closed.
    assert b" 200 OK" in send_request(api, b"GET /api/runs HTTP/1.1")

    tell(place, root)
    slot_uid = place.config.slot_user(place.slot).uid
    got_nothing(place.page("/report.json").json(), slot_uid)  # the build's
    answer = requests.get(f"http://127.0.0.1:{place.slot.web_port}/api/report", timeout=60)
    got_nothing(answer.json(), slot_uid)
    assert answer.headers["X-Oroboros-Run"] == str(run.pk)
    assert answer.headers["X-Oroboros-Commit"] == run.commit_sha
    cookies = answer.headers.get("Set-Cookie", "").lower()
    assert "oroboros" not in cookies and "domain" not in cookies
    assert "Clear-Site-Data" not in answer.headers
    assert LoginAttempt.objects.count() == 0
    links_lead_nowhere(place)

    tell(place, root)
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    log = place.artifact(run, "checks_log")
    lines = [line for line in log.splitlines() if line.startswith("REPORT ")]
    assert lines, log
    got_nothing(json.loads(lines[0].partition(" ")[2]), place.config.job_user.uid)
    assert "\x1b]0;" in log
    controls_no_terminal(api, run)
    assert sorted(path.name for path in drop.iterdir()) == ["filter.sh", "known.json"]
    if not Run.objects.get(pk=run.pk).ended_at:
        operations.cancel(Run.objects.get(pk=run.pk), actor="grace")
    assert Lease.objects.get(run=run).state == LeaseState.ENDED
    assert_nothing_is_left(place.config, place.slot)
    job = place.config.job_user
    assert (job.pids(), leftovers.find_leftovers(job.uid)) == (set(), [])


def got_nothing(report, uid):
    assert report["uid"] == uid
    assert report["reads_itself"] and report["others"] > 5
    assert {attempt: got for attempt, got in report["got"].items() if got} == {}
    assert len(report["got"]) == 14


def controls_no_terminal(api, run):
    for path in ("", "/artifacts", "/events"):
        answer = send_request(api, f"GET /api/runs/{run.pk}{path} HTTP/1.1".encode())
        assert b" 200 OK" in answer
        assert [one for one in "\x1b\x07\x9b\u202e" if one.encode() in answer] == [], path


def links_lead_nowhere(place):
    public = place.slot.folder / "current" / "public"
    assert sorted(path.name for path in public.iterdir()) == ["index.html", "report.json"]
    for number in range(20):
        for path in (f"/link-{number}", f"/hard-{number}", "/up/environment.json"):
            answer = place.page(path)
            assert answer.text == "hello" or answer.status_code == 404, path
