"""An application's processes and services as installed units: users, limits, kills, generations."""

import pytest

from tests.systemd.machine import wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

NOTICED_SECONDS = 20  # the worker looks once a second; the host may have other work
# A process of a preview that ends soon after another one is started again with a delay.
RESTARTED_SECONDS = 20
WORKER = """
import os, signal, sys, time
log = open(os.path.join(os.environ["HOME"], "history"), "a", buffering=1)
def end(*_):
    time.sleep(2)
    log.write(f"{os.environ['OROBOROS_COMMIT']} ends\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
log.write(f"{os.environ['OROBOROS_COMMIT']} begins\\n")
print("waiting for tasks")
while True:
    time.sleep(60)
"""
# Counts in Redis, and adds a line to a file of the storage; prints both.
COUNT = """
import os, pathlib, socket
from urllib.parse import urlsplit
url = urlsplit(os.environ["REDIS_URL"])
with socket.create_connection((url.hostname, url.port), 5) as link:
    link.sendall(f"AUTH {url.password}\\r\\nINCR n\\r\\n".encode())
    answers = link.makefile("rb")
    print(answers.readline().strip().decode(), answers.readline().strip().decode())
with pathlib.Path(os.environ["OROBOROS_STORAGE_MEDIA"], "seen").open("a+") as file:
    file.write("x")
    file.flush()
    file.seek(0)
    print(file.read())
"""
# A server beside `web`, which answers with its name.
SITE = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["OROBOROS_PROCESS"].encode())
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
FILES = {
    "Procfile": "web: python -m guestbook\nrelease: python -m guestbook.migrate\n"
    "worker: python work.py\nsite: python site_server.py\n",
    "backend/site_server.py": SITE,
    "backend/work.py": WORKER,
    "backend/count.py": COUNT,
}
SERVICES = """
[services]
redis = true

[storage]
media = "backend/media"

[processes.site]
port = true

[routes]
"/site/*" = "site"
"""


@pytest.fixture(scope="module")
def files(host):
    """The demo's application with a worker, Redis and storage."""
    git = "runuser -u oroboros -- git -C var/demo/guestbook.git"
    manifest = host.run(f"{git} show main:oroboros.toml")
    return {**FILES, "oroboros.toml": manifest + SERVICES}


def kill(host, unit):
    """Kill the unit's process; returns what waits until another one runs."""
    pid = host.pid(unit)
    assert pid, f"{unit} does not run"
    host.run(f"kill -9 {pid}")
    restarted = lambda: host.pid(unit) not in (0, pid)  # noqa: E731
    return lambda: wait_for(restarted, RESTARTED_SECONDS, f"{unit} is not started again")


def kill_in_production(host, unit, called=None):
    """Kill the unit's process; it is told of within NOTICED_SECONDS, and started again.

    `called` is its name in what is told, if that is not the unit's.
    """
    since = host.run("date +%s").strip()
    wait_until_restarted = kill(host, unit)
    # The events without a run are in no answer of the API.
    journal = f"journalctl -u ouroboros-worker -o cat --since @{since}"
    name = called or unit
    words = (f"{name} ended", f"{name} had ended")
    is_told = lambda: any(one in host.run(journal) for one in words)  # noqa: E731
    wait_for(is_told, NOTICED_SECONDS, f"the end of {unit} is not told")
    wait_until_restarted()


def wait_for_event(host, run, kind, text):
    def is_recorded():
        events = host.get(f"/api/runs/{run['id']}/events")["results"]
        return any(event["kind"] == kind and text in event["text"] for event in events)

    wait_for(is_recorded, NOTICED_SECONDS, f"{kind} is not reported")


def test_a_previews_processes_and_services_are_the_slots_and_are_restarted(host, files):
    host.make_branch("feature/worker", files)
    created = host.post("/api/runs", branch="feature/worker", title="worker")
    run = host.wait_for_status(created, "preview_ready", 300)
    slot = run["slot_id"]
    unit, redis = f"ouroboros-process-{slot}@worker", f"ouroboros-redis@{slot}"
    site, web_port = f"ouroboros-preview@{slot}.1", 3100 + int(slot[-1])
    slice_name = f"ouroboros-previews-{slot}.slice"
    for one in (unit, f"ouroboros-preview@{slot}", site, redis):
        assert host.run(f"ps -o user:32= -p {host.pid(one)}").strip() == f"ouroboros-{slot}"
    for one in (unit, f"ouroboros-preview@{slot}", site):
        assert host.run(f"systemctl show -p Slice --value {one}").strip() == slice_name
    limits = host.run(f"systemctl show -p MemoryMax,TasksMax {slice_name}")
    assert f"MemoryMax={2**30}" in limits and "TasksMax=256" in limits
    logs = f"./scripts/preview-backend-runtime.sh logs --slot {slot} --process worker 2>&1"
    assert "waiting for tasks" in host.run(logs)
    count = f"./scripts/run-command.sh --slot {slot} -- python count.py"
    assert host.run(count).split() == ["+OK", ":1", "x"]
    assert host.curl(f"{web_port}/site/") == "site"
    # The second one ends while the first is started again: it is told of all the same.
    worker_restarted = kill(host, unit)
    wait_for_event(host, run, "backend_down", "the process worker ")
    site_restarted = kill(host, site)
    wait_for_event(host, run, "backend_down", "the process site ")
    worker_restarted()
    site_restarted()
    host.curl(f"{web_port}/site/", "--retry 20 --retry-delay 1 --retry-all-errors")
    redis_restarted = kill(host, redis)
    wait_for_event(host, run, "service_restarted", f"Redis of {slot}")
    redis_restarted()
    assert host.run(count).split() == ["+OK", ":1", "xx"]
    shown = host.get(f"/api/runs/{run['id']}")["processes"]
    assert [one["type"] for one in shown] == ["web", "worker", "site"]
    assert [one["restarts"] for one in shown] == [0, 1, 1]
    host.post(f"/api/runs/{run['id']}/cancel")
    for one in (unit, site, redis):
        wait_for(lambda one=one: host.pid(one) == 0, 30, f"{one} outlives its run")


def test_production_runs_one_generation_of_a_process_and_restarts_it(host, files):
    before = host.get("/api/releases")["results"][0]
    unit, redis = "ouroboros-app-process@worker", "ouroboros-redis@app"
    host.make_branch("feature/first", files)
    host.make_branch("feature/second", {**files, "backend/more.py": "\n"})
    first = host.run_json("./scripts/deploy.sh feature/first --reason first")["release_id"]
    pid = host.pid(unit)
    for one in (unit, redis):
        assert host.run(f"ps -o user:32= -p {host.pid(one)}").strip() == "ouroboros-app"
    count = "./scripts/run-command.sh --production --reason counting -- python count.py"
    assert host.run(count).split() == ["+OK", ":1", "x"]
    host.run_json("./scripts/deploy.sh feature/second --reason second")
    second = host.pid(unit)
    assert second not in (0, pid)
    kill_in_production(host, unit)
    [site] = [one for one in ("ouroboros-app@blue.1", "ouroboros-app@green.1") if host.pid(one)]
    assert host.curl("3100/site/") == "site"
    kill_in_production(host, site)
    # What was written is in the snapshot within 5 s of the change.
    wait_for(lambda: host.run("ls var/redis/app"), 10, "Redis saves nothing")
    kill_in_production(host, redis, "Redis of app")
    host.run_json(f"./scripts/rollback.sh {first}")
    assert host.run(count).split() == ["+OK", ":2", "xx"]
    lines = host.run("cat var/app/history").split("\n")[:-1]
    one, two = (line.split()[0] for line in (lines[0], lines[2]))
    # The killed process said nothing when it ended.
    assert lines == [
        f"{one} begins", f"{one} ends", f"{two} begins", f"{two} begins", f"{two} ends",
        f"{one} begins",
    ]  # fmt: skip
    host.run_json(f"./scripts/rollback.sh {before['release_id']}")
    assert host.pid(unit) == 0
    # A server may have requests left; the worker stops it once they have ended.
    for one in ("ouroboros-app@blue.1", "ouroboros-app@green.1"):
        wait_for(lambda one=one: host.pid(one) == 0, 120, f"{one} outlives its release")
    host.run(".venv/bin/python manage.py unfreeze --reason 'other tests ship'")
