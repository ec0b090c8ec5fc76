"""Installed units: their ratings, restarts after a kill, the router, a reboot."""

import re

import pytest

from host import config
from tests.systemd.machine import DEMO, HOME, wait_for

pytestmark = pytest.mark.root

RATINGS = config.HOME / "docs" / "reference" / "units.md"
UNITS = config.HOME / "infra" / "systemd" / "units"
RESTART_SECONDS = 10
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


def is_healthy(host, port):
    return host.run_unchecked(f"curl -fsS -m 2 http://127.0.0.1:{port}/health").returncode == 0


def request_status(host, address, *options):
    """Request the address with curl; return the status code, 0 without an answer."""
    command = f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' {' '.join(options)}"
    return int(host.run_unchecked(f"{command} http://127.0.0.1:{address}").stdout)


def test_systemd_analyze_finds_no_fault_in_the_units(host):
    names = host.run(
        "ls /etc/systemd/system | grep ^ouroboros | grep -v '[.]d$\\|[.]wants$'"
    ).split()
    names = [name.replace("@.", "@preview-1.") for name in names]
    done = host.run_unchecked(f"systemd-analyze verify {' '.join(names)}")
    assert (done.returncode, done.stderr.decode(), done.stdout.decode()) == (0, "", "")


def test_units_that_run_a_branchs_code_have_a_rating_below_3(host):
    units = "ouroboros-preview@preview-1 ouroboros-job@preview-1 ouroboros-job@job-1"
    host.run(f"systemd-analyze security --no-pager --threshold=30 {units}")


def test_the_reference_has_the_rating_of_every_unit(host):
    row = re.compile(r"^\| `(\S+)` \| ([0-9.]+) .*\w", re.MULTILINE)
    documented = dict(row.findall(RATINGS.read_text()))
    templates = {re.sub("@.*", "@", name) for name in documented}
    assert templates == {path.stem for path in UNITS.glob("*.service")}
    for name, rating in documented.items():
        summary = host.run(f"systemd-analyze security --no-pager {name} | tail -1")
        actual = float(re.search(r": ([0-9.]+) ", summary)[1])
        assert round(abs(actual - float(rating)), 1) <= 0.1, name


@pytest.mark.parametrize(
    ("unit", "port"),
    [("ouroboros-api", 8000), ("ouroboros-caddy", 8088),
     ("ouroboros-web@preview1", 3101), ("ouroboros-preview@preview-1", 8101)],
)  # fmt: skip
def test_a_killed_unit_is_unhealthy_until_systemd_has_restarted_it(host, unit, port):
    options = "-H 'Host: app.example.com'" if port == 8088 else ""
    probe = f"curl -fsS -m 1 {options} http://127.0.0.1:{port}/health"
    pid = host.pid(unit)
    # All processes: a worker of the API may answer once more before systemd ends it.
    kill = f"systemctl kill --signal=KILL {unit}"
    assert host.run_unchecked(f"{kill}; {probe}").returncode != 0
    has_answered = lambda: host.run_unchecked(probe).returncode == 0  # noqa: E731
    wait_for(has_answered, RESTART_SECONDS, f"{unit} is not restarted")
    assert host.pid(unit) not in (0, pid)


def test_a_killed_worker_is_restarted_and_healthy_once_its_queue_delivers(host):
    pid = host.pid("ouroboros-worker")
    kill = f"kill -9 {pid}; curl -fsS http://127.0.0.1:8090/health"
    assert host.run_unchecked(kill).returncode != 0
    is_restarted = lambda: host.pid("ouroboros-worker") not in (0, pid)  # noqa: E731
    wait_for(is_restarted, RESTART_SECONDS, "the worker is not restarted")
    wait_for(lambda: is_healthy(host, 8090), QUEUE_SECONDS, "the queue does not deliver")


def test_the_queue_delivers_after_an_idle_queue_worker_was_killed(host):
    cluster = host.run("pgrep -o -x queue").strip()
    sentinel = host.run(f"pgrep -P {cluster}").split()[0]
    victim = host.run(f"pgrep -P {sentinel}").split()[0]
    host.run(f"kill -9 {victim}")
    host.post("/api/runs", branch="feature/conflict", title="after the kill")

    def is_delivering():
        runs = host.get("/api/runs")["results"]
        return is_healthy(host, 8090) and runs[0]["status"] == "preview_ready"

    wait_for(is_delivering, QUEUE_SECONDS, "the queue does not deliver")
    host.post(f"/api/runs/{host.get('/api/runs')['results'][0]['id']}/cancel")


def test_the_router_serves_its_host_names_and_answers_404_to_others(host):
    for name in ("app", "preview1", "preview2", "preview3", "api"):
        assert request_status(host, "8088/health", f"-H 'Host: {name}.example.com'") == 200
    for name in ("unknown.example.com", "127.0.0.1", "api.example.org"):
        assert request_status(host, "8088/admin/login/", f"-H 'Host: {name}'") == 404
    for name in ("app", "preview1"):
        page = host.run_unchecked(
            f"curl -s -H 'Host: {name}.example.com' http://127.0.0.1:8088/admin/login/"
        )
        assert b"csrfmiddlewaretoken" not in page.stdout
    assert request_status(host, "8088/api/slots", "-H 'Host: api.example.com'") in (401, 403)


@pytest.mark.parametrize("port", [8000, 3100, 3101])
def test_a_preflight_allows_the_configured_origins_only(host, port):
    for origin in [*ORIGINS, "https://evil.example.org", "http://localhost:9999"]:
        path = "api/slots" if port == 8000 else "api/health"
        options = f"-X OPTIONS -H 'Origin: {origin}' -H 'Access-Control-Request-Method: GET'"
        answer = host.run(f"curl -s -i {options} http://127.0.0.1:{port}/{path}").lower()
        assert (f"access-control-allow-origin: {origin}\r" in answer) == (origin in ORIGINS), origin
        assert "access-control-allow-credentials" not in answer


def test_only_those_who_serve_run_and_build_production_can_read_its_files(host):
    live = host.run("readlink -f var/current").strip()
    release = host.run_json("./scripts/release-registry.sh list")["releases"][0]["release_id"]
    for folder in (live, f"{HOME}/var/releases/{release}"):
        host.run(f"test -d {folder}")
        for user in ("nobody", "ouroboros-preview-1", "ouroboros-install"):
            assert host.run_unchecked(f"runuser -u {user} -- ls {folder}").returncode != 0, user
        for user in ("oroboros", "ouroboros-web", "ouroboros-app", "ouroboros-job"):
            host.run(f"runuser -u {user} -- ls {folder}")


def test_a_command_that_root_starts_continues_as_the_services_user(host):
    code = "import os; print(*os.getresuid(), *os.getresgid(), *sorted(os.getgroups()))"
    uid, gid = host.run("id -u oroboros").strip(), host.run("id -g oroboros").strip()
    groups = sorted(map(int, host.run("id -G oroboros").split()))
    wanted = " ".join([*[uid] * 3, *[gid] * 3, *map(str, groups)])
    assert host.run(f'.venv/bin/python manage.py shell -c "{code}"').splitlines()[-1] == wanted


def test_the_retention_unit_removes_an_old_install(host):
    old = f"{HOME}/var/cache/installs/python-{40 * '0'}"
    host.run(f"install -d -o oroboros -g oroboros {old} && touch -d '15 days ago' {old}")
    host.run("systemctl start ouroboros-retention")
    assert host.run_unchecked(f"test -e {old}").returncode != 0


@pytest.mark.parametrize(
    "option",
    [
        "--no-block",
        # The worker waits for the hook and the hook for the worker: systemd kills it, and the next
        # worker resumes the run.
        pytest.param("--no-ask-password", marks=pytest.mark.full),
    ],
)
def test_a_deploy_that_restarts_its_own_worker_merges_and_deploys_once(host, option):
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
    is_restarted = lambda: host.pid("ouroboros-worker") not in (0, before)  # noqa: E731
    wait_for(is_restarted, 60, "the worker was not restarted")
    assert merged["pushed"]
    live = [one for one in host.get("/api/releases")["results"] if one["status"] == "live"]
    assert [one["run_id"] for one in live] == [run["id"]]
    assert int(host.run(count)) == merges + 1
    host.run("sed -i /DEPLOY_BACKEND_RELOAD_CMD/d /etc/oroboros/worker.env")
    host.run("./scripts/systemd-install-runtime.sh && systemctl restart ouroboros-worker")


@pytest.mark.full
def test_after_a_reboot_all_is_healthy_and_an_interrupted_run_is_resumed(host):
    run = host.post("/api/runs", branch="feature/failing-check", title="through a reboot")
    status = lambda: host.get(f"/api/runs/{run['id']}")["status"]  # noqa: E731
    # The test before restarts the worker, whose queue needs a while on a busy host.
    wait_for(lambda: status() != "queued", QUEUE_SECONDS, "the run is not being prepared")
    host.reboot()
    check = "./scripts/runtime-health-check.sh"
    wait_for(lambda: host.run_unchecked(check).returncode == 0, 120, "not everything is healthy")
    assert host.wait_for_status(run, "preview_ready")["slot_id"]
    assert host.run("tail -n 200 /tmp/oroboros-preview-backend/preview-1.log") is not None
