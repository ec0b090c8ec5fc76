"""Installed units: their sandboxes, what comes back by itself, what a hostile preview gets."""

import re
import statistics
import threading
import time
from pathlib import Path

import pytest

from host import config
from tests.systemd.machine import DEMO, HOME, wait_for

pytestmark = pytest.mark.root

HOSTILE = Path(__file__).with_name("hostile.py")
RATINGS = config.HOME / "docs" / "reference" / "units.md"
UNITS = config.HOME / "infra" / "systemd" / "units"
BACK_SECONDS = 10
QUEUE_SECONDS = 120
ORIGINS = [
    "https://preview1.example.com",
    "https://preview2.example.com",
    "https://preview3.example.com",
    "https://app.example.com",
    *(
        f"http://{host}:{3100 + number}"
        for number in (1, 2, 3)
        for host in ("127.0.0.1", "localhost", f"preview{number}.localhost")
    ),
]


@pytest.fixture(scope="module")
def host(machine):
    """Return the machine with everything running, and something live."""
    if machine.start("test -e /etc/oroboros/api.env").returncode != 0:
        machine.install()
    machine.run("./scripts/runtime-up.sh")
    if machine.start("test -e var/current").returncode != 0:
        machine.answer("./scripts/deploy.sh main --reason first")
    return machine


def healthy(host, port):
    return host.start(f"curl -fsS -m 2 http://127.0.0.1:{port}/health").returncode == 0


def status(host, address, *options):
    command = f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' {' '.join(options)}"
    return int(host.start(f"{command} http://127.0.0.1:{address}").stdout)


def test_systemd_finds_no_fault_in_the_units(host):
    names = host.run(
        "ls /etc/systemd/system | grep ^ouroboros | grep -v '[.]d$\\|[.]wants$'"
    ).split()
    names = [name.replace("@.", "@preview-1.") for name in names]
    said = host.start(f"systemd-analyze verify {' '.join(names)}")
    assert (said.returncode, said.stderr.decode(), said.stdout.decode()) == (0, "", "")


def test_what_runs_a_branchs_code_is_well_walled_in(host):
    units = "ouroboros-preview@preview-1 ouroboros-job@preview-1 ouroboros-job@job-1"
    host.run(f"systemd-analyze security --no-pager --threshold=30 {units}")


def test_the_docs_have_the_rating_of_every_unit(host):
    told = dict(re.findall(r"^\| `(\S+)` \| ([0-9.]+) .*\w", RATINGS.read_text(), re.MULTILINE))
    templates = {re.sub("@.*", "@", name) for name in told}
    assert templates == {path.stem for path in UNITS.glob("*.service")}
    for name, rating in told.items():
        said = host.run(f"systemd-analyze security --no-pager {name} | tail -1")
        rated = float(re.search(r": ([0-9.]+) ", said)[1])
        assert round(abs(rated - float(rating)), 1) <= 0.1, name


@pytest.mark.parametrize(
    ("unit", "port"),
    [("ouroboros-api", 8000), ("ouroboros-caddy", 8088),
     ("ouroboros-web@preview1", 3101), ("ouroboros-preview@preview-1", 8101)],
)  # fmt: skip
def test_what_is_killed_is_back_and_health_tells_the_truth(host, unit, port):
    options = "-H 'Host: app.example.com'" if port == 8088 else ""
    probe = f"curl -fsS -m 1 {options} http://127.0.0.1:{port}/health"
    pid = host.pid(unit)
    assert host.start(f"kill -9 {pid}; {probe}").returncode != 0
    wait_for(lambda: host.start(probe).returncode == 0, BACK_SECONDS, f"{unit} is not back")
    assert host.pid(unit) not in (0, pid)


def test_a_worker_that_is_killed_is_back_and_says_so_once_its_queue_delivers(host):
    pid = host.pid("ouroboros-worker")
    assert host.start(f"kill -9 {pid}; curl -fsS http://127.0.0.1:8090/health").returncode != 0
    wait_for(lambda: host.pid("ouroboros-worker") not in (0, pid), BACK_SECONDS, "it is not back")
    wait_for(lambda: healthy(host, 8090), QUEUE_SECONDS, "the queue does not deliver")


def test_an_idle_queue_worker_that_is_killed_does_not_stop_the_queue(host):
    cluster = host.run("pgrep -o -f [m]anage.py.run_queue").strip()
    sentinel = host.run(f"pgrep -P {cluster}").split()[0]
    victim = host.run(f"pgrep -P {sentinel}").split()[0]
    host.run(f"kill -9 {victim}")
    host.post("/api/runs", branch="feature/conflict", title="after the kill")

    def is_at_work():
        runs = host.get("/api/runs")["results"]
        return healthy(host, 8090) and runs[0]["status"] == "preview_ready"

    wait_for(is_at_work, QUEUE_SECONDS, "the queue does not deliver")
    host.post(f"/api/runs/{host.get('/api/runs')['results'][0]['id']}/cancel")


def test_the_router_knows_its_names_and_no_other(host):
    for name in ("app", "preview1", "preview2", "preview3", "api"):
        assert status(host, "8088/health", f"-H 'Host: {name}.example.com'") == 200
    for name in ("nobody.example.com", "127.0.0.1", "api.example.org"):
        assert status(host, "8088/admin/login/", f"-H 'Host: {name}'") == 404
    for name in ("app", "preview1"):
        page = host.start(
            f"curl -s -H 'Host: {name}.example.com' http://127.0.0.1:8088/admin/login/"
        )
        assert b"csrfmiddlewaretoken" not in page.stdout
    assert status(host, "8088/api/slots", "-H 'Host: api.example.com'") in (401, 403)


@pytest.mark.parametrize("port", [8000, 3100, 3101])
def test_only_our_own_origins_pass_a_preflight(host, port):
    for origin in [*ORIGINS, "https://evil.example.org", "http://localhost:9999"]:
        path = "api/slots" if port == 8000 else "api/health"
        asked = "-H 'Access-Control-Request-Method: GET'"
        said = host.run(
            f"curl -s -i -X OPTIONS -H 'Origin: {origin}' {asked} http://127.0.0.1:{port}/{path}"
        ).lower()
        assert (f"access-control-allow-origin: {origin}\r" in said) == (origin in ORIGINS), origin
        assert "access-control-allow-credentials" not in said


def test_the_nightly_retention_removes_an_old_install(host):
    old = f"{HOME}/var/cache/installs/python-{40 * '0'}"
    host.run(f"install -d -o oroboros -g oroboros {old} && touch -d '15 days ago' {old}")
    host.run("systemctl start ouroboros-retention")
    assert host.start(f"test -e {old}").returncode != 0


@pytest.fixture(scope="module")
def preview(host):
    """Return a preview that does what it is told, as a hostile branch's backend."""
    host.make_branch(
        "feature/hostile",
        {"backend/hostile.py": HOSTILE.read_text(), "Procfile": "web: python hostile.py\n"},
    )
    return host.make_run("feature/hostile")


def told(host, preview, command):
    """Have the preview run a shell's command; returns its answer and whether it succeeded."""
    port = 8100 + int(preview["slot_id"][-1])
    done = host.start(
        f"curl -s -w '\\n%{{http_code}}' --data-binary @- http://127.0.0.1:{port}/",
        stdin=command.encode(),
    )
    body, _, code = done.stdout.decode(errors="replace").rpartition("\n")
    return body, code == "200"


@pytest.mark.parametrize(
    "command",
    [  # `other` is a slot that is not its own
        "cat /etc/oroboros/api.env",
        "ls /etc/oroboros/",
        "cat /srv/oroboros/var/secrets/app_production.password",
        "cat /srv/oroboros/var/run/*.json",
        "cat /srv/oroboros/var/slots/*/spec.json",
        "ls /srv/oroboros/var/slots/$other/",
        "ls /srv/oroboros/var/artifacts/",
        "cat /run/credentials/*/unit | grep -v app_preview",
        "touch /srv/oroboros/var/current /srv/oroboros/manage.py",
        "touch /srv/oroboros/var/cache/installs/x",
        "cat /proc/1/environ",
        "curl -fsS http://127.0.0.1:8000/api/slots",
        "curl -fsS -X POST http://127.0.0.1:8000/api/slots/reap-expired",
        "systemctl stop ouroboros-api",
        "systemctl start ouroboros-job@x",
        "su -c true oroboros",
        "unshare -U true",
        "psql -l -h /run/postgresql -U postgres",
        *(
            f"psql postgresql://$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/{name} -c 'SELECT 1'"
            for name in ("oroboros", "postgres", "template1", "app_production", "app_$other_db")
        ),
    ],
)
def test_a_hostile_preview_does_not(host, preview, command):
    other = "preview-1" if preview["slot_id"] != "preview-1" else "preview-2"
    set_other = f"other={other} other_db={other.replace('-', '_')}; "
    said, succeeded = told(host, preview, set_other + command)
    assert not succeeded, said


def test_a_hostile_preview_lists_only_what_is_its_own_or_public(host, preview):
    """Whoever knows every name; public is what lies below three of the folders."""
    public = ("var/activations/", "var/cache/installs/", "var/releases/")
    own = f"var/slots/{preview['slot_id']}/"
    own = tuple(own + name for name in ("worktree", "home", "activations/"))
    folders = host.run("find var -type d").split()
    assert {"var", "var/run", "var/artifacts", *(f"var/slots/preview-{n}" for n in "123")} < {
        *folders
    }
    asked = [name for name in folders if not name.startswith(public)]
    loop = (
        f"cd {HOME} && for f in {' '.join(asked)}; do ls $f >/dev/null 2>&1 && echo $f; done; true"
    )
    listed = told(host, preview, loop)[0].split()
    assert own[0] in listed
    assert [name for name in listed if not name.startswith(own)] == []


def test_a_hostile_preview_reaches_its_own(host, preview):
    assert told(host, preview, "psql $DATABASE_URL -c 'SELECT 1'")[1]
    assert told(host, preview, "touch $HOME/mine && touch ../mine")[1]


@pytest.mark.parametrize(
    "bomb",
    [
        "python3 -c 'x = bytearray(3 << 30); print(len(x))'",
        "python3 -c 'import os\nwhile True: os.fork()'",
        "for i in 1 2 3 4; do (while :; do :; done) & done; sleep 3; kill 0",
    ],
    ids=["memory", "processes", "cpu"],
)
def test_a_bomb_does_not_starve_the_control_plane(host, preview, bomb):
    thrown = threading.Thread(target=told, args=(host, preview, f'timeout 4 sh -c "{bomb}"'))
    thrown.start()
    times = []
    while thrown.is_alive() and len(times) < 20:
        said = host.run(
            "curl -fsS -m 5 -o /dev/null -w '%{time_total}' http://127.0.0.1:8000/health"
        )
        times.append(float(said))
        time.sleep(0.1)
    restart = f"./scripts/preview-backend-runtime.sh restart --slot {preview['slot_id']}"
    # The reconciler may be restarting it too: then one of the two is told that it was stopped.
    wait_for(lambda: host.start(restart).returncode == 0, 60, "the preview does not come back")
    thrown.join()
    assert statistics.median(times) < 0.1, times


@pytest.mark.parametrize(
    "option",
    [
        "--no-block",
        # The worker waits for the hook, and the hook for the worker: killed, and resumed.
        pytest.param("--no-ask-password", marks=pytest.mark.full),
    ],
)
def test_a_deploy_that_restarts_its_own_worker_is_finished_once(host, preview, option):
    hook = f"systemctl {option} reload-or-restart ouroboros-api ouroboros-worker"
    host.run(f"echo 'DEPLOY_BACKEND_RELOAD_CMD={hook}' >>/etc/oroboros/worker.env")
    host.run("./scripts/systemd-install-runtime.sh && systemctl restart ouroboros-worker")
    count = f"runuser -u oroboros -- git -C {DEMO}/guestbook.git rev-list --count --merges main"
    merges = int(host.run(count))
    branch = f"feature/itself{option}"
    host.make_branch(branch, {"backend/note.txt": f"changes the backend: {option}"})
    run = host.make_run(branch)
    before = host.pid("ouroboros-worker")
    merged = host.ship(run)
    new = lambda: host.pid("ouroboros-worker") not in (0, before)  # noqa: E731
    wait_for(new, 60, "the worker was not restarted")
    assert merged["pushed"]
    live = [one for one in host.get("/api/releases")["results"] if one["status"] == "live"]
    assert [one["run_id"] for one in live] == [run["id"]]
    assert int(host.run(count)) == merges + 1
    host.run("sed -i /DEPLOY_BACKEND_RELOAD_CMD/d /etc/oroboros/worker.env")
    host.run("./scripts/systemd-install-runtime.sh && systemctl restart ouroboros-worker")


@pytest.mark.full
def test_after_a_reboot_everything_is_back_and_a_run_goes_on(host, preview):
    host.post(f"/api/slots/{preview['slot_id']}/release", run_id=preview["id"])
    run = host.post("/api/runs", branch="feature/failing-check", title="through a reboot")
    wait_for(lambda: host.get(f"/api/runs/{run['id']}")["status"] == "preparing", 30, "no start")
    host.reboot()
    check = "./scripts/runtime-health-check.sh"
    wait_for(lambda: host.start(check).returncode == 0, 120, "not all is back")
    assert host.follow(run, "preview_ready")["slot_id"]
    assert host.run("tail -n 200 /tmp/oroboros-preview-backend/preview-1.log") is not None
