"""What a hostile preview can read, reach, exhaust and leave behind under systemd: nothing."""

import base64
import statistics
import threading
from pathlib import Path

import pytest

from tests.systemd.machine import HOME, wait_for

pytestmark = pytest.mark.root

HOSTILE = Path(__file__).with_name("hostile.py")
MEBIBYTE = 2**20
LOG_BYTES = 10 * 2**20  # host/files/log_files.py


@pytest.fixture(scope="module")
def preview(host):
    """A preview whose backend runs any command that it is sent: see hostile.py."""
    files = {"backend/hostile.py": HOSTILE.read_text(), "Procfile": "web: python hostile.py\n"}
    for name in ("hostile", "hostile-leaves", "hostile-listens", "hostile-ports"):
        host.make_branch(f"feature/{name}", files)
    run = host.make_run("feature/hostile")
    yield run
    release_slot(host, run)


def release_slot(host, run):
    """Release the run's slot and wait until it is free."""
    slot_id = run["slot_id"]
    host.post(f"/api/slots/{slot_id}/release", run_id=run["id"])

    def is_free():
        return {one["slot_id"]: one["state"] for one in host.get("/api/slots")}[slot_id] == "free"

    wait_for(is_free, 60, "the slot is not free")


def run_in_preview(host, preview, command):
    """Have the preview run a shell command; return its output and whether it succeeded."""
    port = 8100 + int(preview["slot_id"][-1])
    done = host.run_unchecked(
        f"curl -s -w '\\n%{{http_code}}' --data-binary @- http://127.0.0.1:{port}/",
        stdin=command.encode(),
    )
    body, _, code = done.stdout.decode(errors="replace").rpartition("\n")
    return body, code == "200"


@pytest.mark.parametrize(
    "command",
    [  # `other` is another slot than the preview's
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
        "ls $live/",
        "ls /srv/oroboros/var/current/",
        "cat /proc/1/environ",
        "curl -fsS http://127.0.0.1:8000/api/slots",
        "curl -fsS -X POST http://127.0.0.1:8000/api/slots/reap-expired",
        "curl -fsS -H 'Transfer-Encoding: chunked' -d '{}' http://127.0.0.1:8000/api/runs",
        "curl -fsS -H 'X-Forwarded-For: 127.0.0.1' http://127.0.0.1:8000/api/runs",
        "curl -fsS -H 'Authorization: Bearer x' http://127.0.0.1:8000/api/runs",
        "curl -fsS 'http://127.0.0.1:8000/api/runs?cursor=cD1hYmM='",
        "curl -fsS 'http://127.0.0.1:8000/admin/runs/run/?q=%00'",
        "echo X=1 >>/etc/oroboros/api.env",
        "mv /etc/oroboros/api.env /etc/oroboros/old.env",
        "echo '* * * * * id' | crontab -",
        "echo id | at now",
        "systemd-run --user true",
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
def test_a_hostile_preview_is_denied(host, preview, command):
    other = "preview-1" if preview["slot_id"] != "preview-1" else "preview-2"
    live = host.run("readlink -f var/current").strip()
    set_other = f"live={live} other={other} other_db={other.replace('-', '_')}; "
    output, succeeded = run_in_preview(host, preview, set_other + command)
    assert not succeeded, output


def test_a_hostile_preview_can_list_only_its_own_and_public_folders(host, preview):
    """The preview is given the names of all folders. Those below one folder are public."""
    public = ("var/cache/installs/",)
    own = f"var/slots/{preview['slot_id']}/"
    own = tuple(own + name for name in ("worktree", "home", "activations/"))
    folders = host.run("find var -type d").split()
    assert {"var", "var/run", "var/artifacts", *(f"var/slots/preview-{n}" for n in "123")} < {
        *folders
    }
    tried = [name for name in folders if not name.startswith(public)]
    loop = (
        f"cd {HOME} && for f in {' '.join(tried)}; do ls $f >/dev/null 2>&1 && echo $f; done; true"
    )
    listed = run_in_preview(host, preview, loop)[0].split()
    assert own[0] in listed
    assert [name for name in listed if not name.startswith(own)] == []


def test_a_hostile_preview_can_use_its_own_database_and_folders(host, preview):
    assert run_in_preview(host, preview, "psql $DATABASE_URL -c 'SELECT 1'")[1]
    assert run_in_preview(host, preview, "touch $HOME/mine && ! touch ./mine")[1]


def test_a_hostile_preview_finds_no_checkout_above_it_and_shares_no_memory(host, preview):
    names = ".git pyproject.toml manage.py tests .gitignore"
    script = f"cd .. && for n in {names}; do test ! -e {HOME}/$n || echo $n; done"
    assert host.run(f"ls -d {HOME}/pyproject.toml").strip() == f"{HOME}/pyproject.toml"
    assert run_in_preview(host, preview, script) == ("", True)
    assert run_in_preview(host, preview, "touch /dev/shm/of-a-preview /tmp/of-a-preview")[1]
    assert host.run("ls /dev/shm /tmp").count("of-a-preview") == 0


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp"])
def test_a_hostile_preview_fills_no_disk_by_way_of_tmp(host, preview, folder):
    script = f"dd if=/dev/zero of={folder}/big bs=1M count=300 2>&1; rm {folder}/big"
    assert "No space left on device" in run_in_preview(host, preview, script)[0]
    assert run_in_preview(host, preview, f"stat -f -c %T {folder}")[0].strip() == "tmpfs"


START = """
import os
def is_of_its_own_session():
    if os.fork():
        return False
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    return True
"""


def run_python_in_preview(host, preview, code):
    """Have the preview run Python code that must succeed; return what it printed.

    Where the code asks is_of_its_own_session(), it goes on as two processes: the one that is
    answered True outlives the request.
    """
    encoded = base64.b64encode((START + code).encode()).decode()
    output, succeeded = run_in_preview(host, preview, f"echo {encoded} | base64 -d | python3 -")
    assert succeeded, output
    return output


LISTEN = """
import os, socket, time
held = []
for port in {ports}:
    for address in ("127.0.0.1", "::1", "0.0.0.0", "::"):
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((address, port))
            one.listen()
            held.append(one)
            print(address, port)
        except OSError:
            pass
if held and is_of_its_own_session():
    time.sleep(3600)
"""
STACK_PORTS = [*range(3100, 3104), 8000, 8088, 8090, 8092, *range(8101, 8104), 8110, 8111, 5432]


def test_a_hostile_preview_keeps_no_port_of_the_stack_on_any_address(host, preview):
    """It cannot bind one, or, where the kernel has no BPF for cgroups, is ended."""
    run = host.make_run("feature/hostile-listens")
    uid = host.run(f"id -u ouroboros-{run['slot_id']}").strip()
    own = 8100 + int(run["slot_id"][-1])
    others = [port for port in STACK_PORTS if port != own]
    listening = run_python_in_preview(host, run, LISTEN.format(ports=others))
    ports = "|".join(map(str, others))
    find = f"ss -Hlnte | grep -E ':({ports}) ' | grep -w uid:{uid}"
    wait_for(lambda: host.run_unchecked(find).returncode == 1, 60, "it still listens")
    host.run("curl -fsS http://127.0.0.1:8000/health")

    def list_stops():
        events = host.get(f"/api/runs/{run['id']}/events")["results"]
        return [one for one in events if "is a port of Oroboros" in one["text"]]

    if listening:  # it is recorded after the listener has ended
        wait_for(list_stops, 60, "its end is no event")
    assert len(list_stops()) == bool(listening)
    host.post(f"/api/runs/{run['id']}/cancel")


HOLD_PORTS = """
import os, resource, socket, time
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
first, last = map(int, open("/proc/sys/net/ipv4/ip_local_port_range").read().split())
for begin in range(first, last + 1, limit - 50):
    if is_of_its_own_session():
        held = []
        for port in range(begin, min(begin + limit - 50, last + 1)):
            one = socket.socket()
            try:
                one.bind(("0.0.0.0", port))
                held.append(one)
            except OSError:
                one.close()
        time.sleep(3600)
"""


def test_a_hostile_preview_that_binds_all_local_ports_is_ended(host, preview):
    run = host.make_run("feature/hostile-ports")
    uid = host.run(f"id -u ouroboros-{run['slot_id']}").strip()
    run_python_in_preview(host, run, HOLD_PORTS)

    def is_recorded():
        answer = host.run_unchecked(f"curl -fsS http://127.0.0.1:8000/api/runs/{run['id']}/events")
        return b"so many local TCP ports" in answer.stdout

    wait_for(is_recorded, 120, "it holds all local ports")
    host.run("curl -fsS http://127.0.0.1:8000/health")
    assert host.run_unchecked(f"pgrep -u {uid} -f 'python3 -$'").returncode == 1
    host.post(f"/api/runs/{run['id']}/cancel")


LOG_IN = """
import urllib.error, urllib.request
for port, name in ((8000, "127.0.0.1:8000"), (8088, "api.localhost"), (8088, "api.example.com")):
    # The page itself too: its refusal is not for want of a token of the form.
    for body in [None] + 6 * [b"username=admin&password=x"]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/admin/login/", body,
            {"Host": name, "X-Forwarded-For": "192.0.2.7"},
        )
        try:
            print(urllib.request.urlopen(request, timeout=20).status)
        except urllib.error.HTTPError as refusal:
            print(refusal.code)
"""


def test_a_hostile_preview_is_not_asked_to_log_in_whatever_address_it_invents(host, preview):
    assert {*run_python_in_preview(host, preview, LOG_IN).split()} == {"403"}


COOKIES = ("oroboros_session", "stolen", "Clear-Site-Data", "Domain=")


def test_a_hostile_preview_sets_no_cookie_of_the_admin_and_clears_none(host, preview):
    number = preview["slot_id"][-1]
    request = f"curl -si -H 'Host: preview{number}.example.com' http://127.0.0.1"
    for port in (f"310{number}", "8088"):
        answer = host.run(f"{request}:{port}/api/x")
        assert "mine=1" in answer  # its own, which come through
        assert [word for word in COOKIES if word.lower() in answer.lower()] == []


HOLD = """
import contextlib, socket, time
TARGETS = 60 * [(8000, "127.0.0.1"), (8088, "api.example.com")]
STARTS = ("X-Slow: ", "Content-Length: 50000\\r\\n\\r\\n")
def connect(number):
    port, name = TARGETS[number]
    one = socket.create_connection(("127.0.0.1", port))
    head = f"POST /admin/login/ HTTP/1.1\\r\\nHost: {name}\\r\\n{STARTS[number // 2 % 2]}"
    one.sendall(head.encode())
    return one
held = [connect(number) for number in range(len(TARGETS))]
print("holds", flush=True)
if is_of_its_own_session():
    for _ in range(5 * SECONDS):
        time.sleep(0.2)
        for number, one in enumerate(held):
            try:
                one.send(b"1")
            except OSError:
                one.close()
                with contextlib.suppress(OSError):
                    held[number] = connect(number)
"""


def test_slow_connections_of_a_hostile_preview_do_not_stop_the_api(host, preview):
    times = times_beside_slow_connections(host, preview, 10)
    assert statistics.median(times) < 0.5, times
    host.run("curl -fsS -m 10 -o /dev/null http://127.0.0.1:8000/api/slots")


@pytest.mark.full
def test_a_minute_of_slow_connections_of_a_hostile_preview_delays_no_probe(host, preview):
    assert max(times_beside_slow_connections(host, preview, 60)) < 1


def times_beside_slow_connections(host, preview, seconds):
    """Return how long /health took, in seconds, directly and through the router.

    A hostile preview meanwhile has sixty connections to each, on which it sends a head or a body
    byte by byte, and connects again in place of each that is ended.
    """
    assert run_python_in_preview(host, preview, f"SECONDS = {seconds + 50}\n{HOLD}") == "holds\n"
    health = "curl -fsS -m 10 -o /dev/null -w '%{time_total} ' http://127.0.0.1:8000/health"
    routed = health.replace(
        "http://127.0.0.1:8000", "-H 'Host: api.example.com' http://127.0.0.1:8088"
    )
    is_not_over = f"[ $(date +%s) -lt $(($begin + {seconds})) ]"
    probes = f"while {is_not_over}; do {health}; {routed}; sleep 0.3; done"
    times = host.run(f"begin=$(date +%s); {probes}")
    return list(map(float, times.split()))


ESCAPES = "printf '\\033]0;stolen\\007\\033[2J\\302\\2332J\\342\\200\\256 escapes\\n'"


def test_a_hostile_preview_prints_no_escape_and_no_password_to_a_terminal(host, preview):
    command = f'{{ {ESCAPES}; echo "its password $PGPASSWORD"; }} >/proc/$PPID/fd/1'
    assert run_in_preview(host, preview, command) == ("", True)
    [password] = run_in_preview(host, preview, "echo $PGPASSWORD")[0].split()
    logs = f"./scripts/preview-backend-runtime.sh logs --slot {preview['slot_id']} 2>&1"
    shown = wait_for(lambda: has_lines(host.run(logs)), 30, "the log does not have the lines")
    assert "stolen" in shown and password not in shown
    assert [one for one in "\x1b\x07\x9b\u202e" if one in shown] == []


def has_lines(text):
    return text if "its password" in text and " escapes" in text else ""


def test_a_hostile_preview_that_prints_without_end_fills_no_disk(host, preview):
    """It prints 300 MB in one line, which is dropped: the log's end begins with a whole line."""
    log = f"var/log/slots/{preview['slot_id']}.log"
    size = lambda: sum(map(int, host.run(f"stat -c %s {log}*").split()))  # noqa: E731
    print_much = "head -c 300M /dev/zero | tr '\\0' x >/proc/$PPID/fd/1"
    assert run_in_preview(host, preview, print_much) == ("", True)
    wait_for(lambda: size() <= 2 * LOG_BYTES, 60, "its log is not rotated")
    host.run(f"test -s {log}.1")
    host.run("curl -fsS -m 10 -o /dev/null http://127.0.0.1:8000/health")


CLOSED = f"""
import os
os.chdir(os.environ["HOME"])
os.mkdir("closed")
with open("closed/file", "wb") as file:
    file.write(b"x" * ({MEBIBYTE} * 64))
os.chmod("closed", 0)
"""
DELETED = f"""
import os, time
os.chdir(os.environ["HOME"])
file = open("deleted", "wb")
file.write(b"x" * ({MEBIBYTE} * 64))
file.flush()
os.unlink("deleted")
if is_of_its_own_session():
    time.sleep(3600)
"""
MEASURE = (
    "from host import config; from slots.runtime import disk_usage as one;"
    "config = config.load(); slot = config.slot('{slot_id}');"
    "print(one.describe_excess(config, slot.slot_id, one.list_slot_places(config, slot)))"
)


@pytest.mark.full
@pytest.mark.parametrize("code", [CLOSED, DELETED], ids=["closed folder", "deleted file"])
def test_a_hostile_preview_hides_no_disk_space(host, preview, code):
    """The worker itself may not look there: it is not root."""
    run = host.make_run("feature/hostile-leaves")
    measure = MEASURE.format(slot_id=run["slot_id"])
    as_worker = f'runuser -u oroboros -- env PREVIEW_DISK_MB=60 .venv/bin/python -c "{measure}"'
    assert "more than" not in host.run(as_worker)
    run_python_in_preview(host, run, code)
    assert "uses more than 60 MB" in host.run(as_worker)
    release_slot(host, run)
    # The worker itself may be asking now.
    wait_for(lambda: host.run("ls -A /run/oroboros/disk") == "", 10, "requests are left")


HOLD_TERMINALS = """
import os, time
print(*sorted(os.listdir("/dev/pts")))
held = []
try:
    while len(held) < 1000:
        held.append(os.openpty())
except OSError:
    pass
print(len(held), os.ttyname(held[0][1]), *sorted(os.listdir("/dev/pts"))[-1:])
if is_of_its_own_session():
    time.sleep(3600)
"""


def test_a_hostile_preview_neither_sees_nor_uses_up_the_terminals_of_others(host, preview):
    run = host.make_run("feature/hostile-leaves")
    terminals = f"ls /run/ouroboros-terminals/ouroboros-preview@{run['slot_id']}.service"
    for one in (run, preview):
        assert run_python_in_preview(host, one, HOLD_TERMINALS) == "ptmx\n64 /dev/pts/0 ptmx\n"
    assert not run_in_preview(host, run, "ls /run/ouroboros-terminals/")[1]
    assert host.run("ls /dev/pts").split() == ["ptmx"]
    host.run("python3 -c 'import os; [os.openpty() for _ in range(100)]'")
    assert len(host.run(terminals).split()) == 65
    release_slot(host, run)
    # The same unit is the slot's idle page now.
    has_none = lambda: host.run_unchecked(terminals).stdout == b"ptmx\n"  # noqa: E731
    wait_for(has_none, 60, "terminals of the run are left")
    restart = f"./scripts/preview-backend-runtime.sh restart --slot {preview['slot_id']}"
    host.run(restart)  # which ends what holds the terminals
    assert run_python_in_preview(host, preview, "import os; print(os.openpty())")


LEAVE = """
import ctypes, os
libc = ctypes.CDLL(None)
assert libc.shmget(0, 4096, 0o1600) >= 0
assert libc.semget(0, 1, 0o1600) >= 0
assert libc.msgget(0, 0o1600) >= 0
libc.mq_open(b"/left-by-a-preview", 0o102, 0o666, None)
for folder in ("/tmp", "/var/tmp", "/dev/shm"):
    open(folder + "/left-by-a-preview", "w").close()
if is_of_its_own_session():
    if os.fork() == 0:
        os.execve("/bin/sleep", ["sleep-of-a-preview", "3600"], {})
    os._exit(0)
os.wait()
"""


def test_nothing_of_a_hostile_preview_is_left_after_its_lease(host, preview):
    run = host.make_run("feature/hostile-leaves")
    run_python_in_preview(host, run, LEAVE)
    find_process, slot_id = "pgrep -f sleep-of-a-preview", run["slot_id"]
    assert host.run(find_process).split()
    release_slot(host, run)
    assert host.run_unchecked(find_process).returncode == 1
    find_files = "find /tmp /var/tmp /dev/shm /dev/mqueue -name left-by-a-preview"
    assert host.run(f"{find_files}; ipcs | grep ouroboros-{slot_id} || true") == ""


@pytest.mark.parametrize(
    "bomb",
    [
        "python3 -c 'x = bytearray(3 << 30); print(len(x))'",
        "python3 -c 'import os\nwhile True: os.fork()'",
        "for i in 1 2 3 4; do (while :; do :; done) & done; sleep 3; kill 0",
    ],
    ids=["memory", "processes", "cpu"],
)
def test_the_api_stays_fast_while_a_preview_exhausts_its_limits(host, preview, bomb):
    command = f'timeout 4 sh -c "{bomb}"'
    attack = threading.Thread(target=run_in_preview, args=(host, preview, command))
    attack.start()
    times = []
    while attack.is_alive() and len(times) < 20:
        seconds = host.run(
            "curl -fsS -m 5 -o /dev/null -w '%{time_total}' http://127.0.0.1:8000/health"
        )
        times.append(float(seconds))
        attack.join(0.1)  # spreads the requests over the attack
    restart = f"./scripts/preview-backend-runtime.sh restart --slot {preview['slot_id']}"
    # The supervisor may restart it too: one of the two is then refused, because it was stopped.
    wait_for(lambda: host.run_unchecked(restart).returncode == 0, 60, "it is not restarted")
    attack.join()
    assert statistics.median(times) < 0.1, times
