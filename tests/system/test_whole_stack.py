"""The whole stack: quickstart, previews, shipping, failures, rollbacks and killed workers.

Each test uses the state that the tests before it left, so they run in the order of the file.
"""

import json
import os
import re
import signal
import subprocess

import psutil
import pytest
import requests

from host.units import managers
from tests.system.host import wait_for

# What a test found that later tests need.
STATE = {}


def test_quickstart_creates_a_preview_and_prints_its_url(host):
    output = host.script("quickstart")
    assert f"http://api.localhost:{host.config.router_port}/admin/" in output
    through_router = {"Host": f"api.localhost:{host.config.router_port}"}
    login = host.get(host.config.router_port, "/admin/login/", headers=through_router)
    assert "csrfmiddlewaretoken" in login.text
    assert re.search(r"user admin, password \S{12,}", output)
    STATE["password"] = re.search(r"user admin, password (\S+)", output)[1]
    run = host.api("/api/runs?branch=feature/reactions").json()["results"][0]
    assert run["status"] == "preview_ready"
    assert run["frontend_url"] in output
    STATE["run"] = run


def test_the_env_file_of_a_surface_has_the_ports_in_use(host):
    slot = host.config.slots[0]
    text = (host.home / "infra/systemd/env/web-preview1.env").read_text()
    assert f"WEB_PORT={slot.web_port}\n" in text
    assert f"WEB_API_PROXY_TARGET=127.0.0.1:{slot.backend_port}\n" in text
    assert slot.web_port != 3101


def test_the_preview_shows_the_branch_and_production_shows_main(host):
    slot, run = host.config.slots[0], STATE["run"]
    page = host.get(slot.web_port, "/")
    assert 'class="react"' in page.text
    assert page.headers["X-Oroboros-Run"] == run["id"]
    assert page.headers["X-Oroboros-Commit"] == run["commit_sha"]
    assert "noindex" in page.headers["X-Robots-Tag"]
    assert host.get(slot.web_port, "/api/health").json()["status"] == "ok"
    assert host.get(slot.backend_port, "/health").status_code == 200
    assert 'class="react"' not in host.get(host.config.web_port, "/").text
    assert "reactions" in host.columns(slot.database)
    assert "reactions" not in host.columns(host.config.production_database)


def test_every_row_of_the_startup_matrix_is_healthy(host):
    output = host.script("runtime-health-check")
    rows = [line for line in output.splitlines() if line.startswith("ok")]
    assert len(rows) == 11, output  # those of the matrix, and the production app
    assert "FAIL" not in host.script("doctor")
    for slot in host.config.slots:
        assert host.get(slot.web_port, "/api/health").status_code == 200
    router = host.get(host.config.router_port, headers={"Host": "app.example.com"})
    assert router.status_code == 200
    assert host.get(host.config.router_port, headers={"Host": "x.example.com"}).status_code == 404


def test_a_preview_does_not_receive_the_admins_session_cookie(host):
    admin = requests.Session()
    login = f"http://127.0.0.1:{host.config.api_port}/admin/login/"
    page = admin.get(login, timeout=60)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
    form = {"username": "admin", "password": STATE["password"], "csrfmiddlewaretoken": token}
    home = admin.post(login, data=form, headers={"Referer": login}, timeout=60)
    assert "Log out" in home.text or "logout" in home.text
    names = {cookie.name for cookie in admin.cookies}
    assert "oroboros_session" in names
    slot = host.config.slots[0]
    seen = admin.get(f"http://127.0.0.1:{slot.web_port}/api/echo", timeout=60)
    assert "oroboros_session" not in seen.text + str(seen.headers)
    STATE["admin"] = admin


def test_quickstart_with_ship_merges_and_serves_the_feature(host):
    before = host.remote_main()
    host.script("quickstart", "--ship")
    run = host.run(STATE["run"]["id"])
    assert (run["status"], run["pushed"]) == ("merged", True)
    assert host.remote_main() == run["candidate_sha"] != before
    assert 'class="react"' in host.get(host.config.web_port, "/").text
    assert host.get(host.config.web_port, "/").headers["X-Oroboros-Commit"] == run["candidate_sha"]
    releases = host.api("/api/releases").json()["results"]
    assert [one["status"] for one in releases].count("live") == 1
    assert "reactions" in host.columns(host.config.production_database)
    assert host.is_free()
    assert not (host.config.slots[0].folder / "worktree").exists()
    STATE["releases"] = releases


@pytest.mark.parametrize(
    ("branch", "code", "artifact", "approved"),
    [
        ("feature/failing-check", "CHECKS_FAILED", "checks_log", True),
        ("feature/bad-migration", "MIGRATION_FAILED", "migrate_log", False),
        ("feature/conflict", "MERGE_CONFLICT", "candidate_log", True),
    ],
)
def test_a_branch_that_cannot_ship_fails_with_its_code(host, branch, code, artifact, approved):
    live = host.get(host.config.web_port, "/").headers["X-Oroboros-Commit"]
    run = host.wait_until_settled(host.start_run(branch))
    if approved:
        assert run["status"] == "preview_ready", run
        host.approve(run)
        run = host.wait_until_ended(run["id"])
    assert (run["status"], run["failure_code"]) == ("failed", code)
    assert len(run["next_action"]) > 20
    names = [one["name"] for one in host.api(f"/api/runs/{run['id']}/artifacts").json()["results"]]
    assert artifact in names
    assert host.is_free()
    assert host.get(host.config.web_port, "/").headers["X-Oroboros-Commit"] == live


def test_a_rollback_serves_the_previous_release_again(host):
    live, previous = STATE["releases"][:2]
    host.manage("rollback", previous["release_id"], "--reason", "to see it work", "--accept-schema")
    page = host.get(host.config.web_port, "/")
    assert page.headers["X-Oroboros-Commit"] == previous["commit_sha"]
    assert 'class="react"' not in page.text
    answer = json.loads(host.script("rollback", live["release_id"], "--reason", "and forward"))
    assert answer["ok"] is True
    assert host.get(host.config.web_port, "/").headers["X-Oroboros-Commit"] == live["commit_sha"]
    host.script("runtime-health-check")


@pytest.mark.full
def test_a_run_is_prepared_after_its_worker_was_killed(host):
    run_id = host.start_run("feature/conflict")
    wait_for(
        lambda: any(step["name"] == "worktree" for step in host.run(run_id)["steps"]),
        30,
        "the run is not being prepared",
    )
    host.kill_worker()
    run = host.wait_until_settled(run_id)  # the API starts the worker again
    assert run["status"] == "preview_ready", run
    host.api(f"/api/runs/{run_id}/cancel", {})
    assert host.is_free()


@pytest.mark.full
def test_a_run_is_merged_once_after_its_worker_was_killed(host):
    before = host.remote_main()
    branch = push_branch(host, "feature/killed")
    run = host.wait_until_settled(host.start_run(branch))
    assert run["status"] == "preview_ready", run
    host.approve(run)
    wait_for(
        lambda: any(step["name"] == "migrations" for step in host.run(run["id"])["steps"]),
        30,
        "the run does not ship",
    )
    host.kill_worker()  # the API starts it again
    run = host.wait_until_ended(run["id"])
    assert run["status"] == "merged", run
    count = host_git(host, "rev-list", "--count", "--first-parent", f"{before}..main")
    assert count == "1"
    assert host.remote_main() == run["candidate_sha"]
    assert host.is_free()


@pytest.mark.full
def test_a_killed_api_is_started_again_as_it_was(host):
    before = host.unit("ouroboros-api")
    before.kill()
    wait_for(lambda: host.unit("ouroboros-api") != before, why="the API is not started")
    wait_for(lambda: "FAIL" not in host.run_script("runtime-health-check").stdout)
    again = host.unit("ouroboros-api")
    host.script("runtime-up")
    assert host.unit("ouroboros-api") == again  # it has the same command and environment


def push_branch(host, branch):
    """Push a branch with one more file to the demo's remote; return its name."""
    clone = host.home / "var" / "clone"
    remote = str(host.home / "var" / "demo" / "guestbook.git")
    environ = {**os.environ, "GIT_CONFIG_COUNT": "1"}
    environ |= {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]

    def git(*arguments):
        subprocess.run(["git", *arguments], env=environ, check=True, capture_output=True)

    git("clone", "-q", remote, str(clone))
    (clone / "note.txt").write_text(branch)
    git("-C", str(clone), "checkout", "-q", "-b", branch)
    git("-C", str(clone), "add", "note.txt")
    git("-C", str(clone), *author, "commit", "-q", "-m", "a note")
    git("-C", str(clone), "push", "-q", "origin", branch)
    return branch


def host_git(host, *arguments):
    remote = host.home / "var" / "demo" / "guestbook.git"
    argv = ["git", "-c", "safe.directory=*", "-C", str(remote), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.root
def test_another_user_of_the_host_may_not_operate(host):
    url = f"http://127.0.0.1:{host.config.api_port}/api/slots/reap-expired"
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", url],
        user=host.config.uid_base + 1,
        group=host.config.uid_base + 1,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "403"


POST_AND_CLOSE = """
import socket, sys
port, body = int(sys.argv[1]), sys.argv[2].encode()
head = (
    f"POST /api/runs HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n"
    f"Content-Type: application/json\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
).encode()
for _ in range(1000):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        link.sendall(head + body)
        # Close with a reset. When the API looks for the owner, the kernel may show uid 0.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
"""


@pytest.mark.root
def test_a_request_of_another_user_that_is_reset_at_once_creates_no_run(host):
    title = "reset at once"
    body = json.dumps({"branch": "feature/conflict", "title": title, "prepare": False})
    run_python_as(host, host.config.uid_base + 1, [POST_AND_CLOSE, str(host.config.api_port), body])
    wait_for(
        lambda: host.get(host.config.api_port).status_code == 200, 60, "the API is not healthy"
    )
    found = host.api("/api/runs").json()["results"]
    assert title not in {run["title"] for run in found}


def run_python_as(host, uid, arguments):
    """Run a Python program as another user of the host."""
    subprocess.run(
        [str(host.home / ".venv/bin/python"), "-I", "-c", *arguments],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        check=True,
        timeout=600,
    )


def test_a_killed_idle_page_is_restarted(host):
    slot = host.config.slots[2]
    name = f"ouroboros-preview@{slot.slot_id}"
    host.unit(name).send_signal(signal.SIGKILL)
    wait_for(lambda: _is_healthy(host, slot.backend_port), 120, "the idle page is not restarted")
    assert managers.get_manager(host.config).status(name).is_active


def _is_healthy(host, port):
    try:
        return host.get(port).status_code == 200
    except requests.ConnectionError:
        return False


def test_a_second_quickstart_changes_nothing(host):
    before = [(run["id"], run["status"]) for run in host.api("/api/runs").json()["results"]]
    host.script("quickstart", "--ship")
    after = [(run["id"], run["status"]) for run in host.api("/api/runs").json()["results"]]
    assert after == before


def test_runtime_down_ends_every_process_and_listener(host):
    host.script("runtime-down")
    wait_for(lambda: not host.processes(), 60, str(host.processes()))
    assert not [
        one
        for one in psutil.net_connections("tcp")
        if one.status == "LISTEN" and one.laddr.port == host.config.api_port
    ]
