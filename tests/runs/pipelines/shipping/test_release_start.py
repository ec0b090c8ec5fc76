"""The merge gate starts the sealed release as production would, before the target branch moves."""

import os
import signal
import socket
import sqlite3
from contextlib import closing

import pytest

from host.files import ownership
from host.process import socket_owner
from host.units import managers
from releases.production import colours, gate_start
from runs.lifecycle import execution, operations, reconciler
from runs.models import Freeze, Run
from runs.pipelines import merge_gate
from tests.environment import free_port
from tests.runs.pipelines.shipping import tiny

# Appears in production's environment only: previews have OROBOROS_SLOT.
IN_PRODUCTION = 'import os\nif "OROBOROS_SLOT" not in os.environ:\n    '
AS_ROOT = os.geteuid() == 0


def server(line, *, everywhere=False):
    """Return a server that executes `line` before it listens, in production's environment only."""
    before = "import os\n" if everywhere else IN_PRODUCTION
    return {"server.py": f"{before}{line}\n{tiny.SERVER}"}


def approve_and_execute(run):
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    return Run.objects.get(pk=run.pk)


def find_remains(world):
    """Return what the gate's start left: its unit, a listener on its port, a home."""
    names = [name for name in managers.get_manager(world.config).list_names() if "gate" in name]
    listeners = socket_owner.list_listeners(world.config.gate_port)
    return [*names, *listeners, *gate_start.list_run_ids(world.config)]


def writes_in_tree(world):
    return server('open("server.pid", "w").write("1")')


def release_writes_in_tree(world):
    line = 'open("static.css", "w").write("1")'
    return {"release.py": f"{IN_PRODUCTION}{line}\n"}


def writes_in_shared_tmp(world):
    path = f"/tmp/oroboros-test-{os.getpid()}.pid"
    return server(f'open("{path}", "w").write("1")', everywhere=True)


def writes_in_home(world):
    line = 'open(os.environ["HOME"] + "/state", "x").write("1")'
    return server(line)


def release_makes_a_database_in_home(world):
    connect = 'import sqlite3; db = sqlite3.connect(os.environ["HOME"] + "/db.sqlite3")'
    return {
        "release.py": f"{IN_PRODUCTION}{connect}; db.execute('create table if not exists t(i)')\n",
        **server(f"{connect}; db.execute('select * from t')"),
    }


def uses_sqlite_beside_its_code(world):
    line = "import sqlite3; sqlite3.connect('db.sqlite3').execute('create table t(i)')"
    return server(line)


def needs_a_variable_of_previews(world):
    (world.config.env_dir / "worker-preview.env").write_text("ONLY_PREVIEWS=1\n")
    return server('os.environ["ONLY_PREVIEWS"]', everywhere=True)


def binds_its_previews_port(world):
    port = world.config.slots[0].backend_port
    return {"server.py": tiny.SERVER.replace('int(os.environ["PORT"])', str(port))}


def needs_a_process(world):
    return server(f'import socket; socket.create_connection(("127.0.0.1", {free_port()}))')


def needs_more_open_files(world):
    line = "import resource as r; hard = r.getrlimit(r.RLIMIT_NOFILE)[1]"
    return server(f"{line}; r.setrlimit(r.RLIMIT_NOFILE, (hard + 1, hard + 1))")


def reads_another_users_file(world):
    # Below var, which applications see: of the tests' folder in /tmp a private /tmp has nothing.
    path = world.config.var / "private"
    path.write_text("")
    path.chmod(0o600)
    return server(f'open("{path}")')


def reads_a_private_file_of_its_build(world):
    toml = '[backend]\nbuild = "python made.py"\n[checks]\nquick = "true"\n'
    made = "import os\nos.umask(0o077)\nopen('private.txt', 'w').write('1')\n"
    return {"oroboros.toml": toml, "made.py": made, **server("open('private.txt')")}


def needs_the_network(world):
    return server('import socket; socket.getaddrinfo("db.example.invalid", 5432)')


full = pytest.mark.full
# What the application does, and what the detail names; without words it ships.
CASES = [
    pytest.param(writes_in_tree, ["writes server.pid in its own tree", "PermissionError"]),
    pytest.param(release_writes_in_tree, ["static.css could not be written"], marks=full),
    pytest.param(writes_in_shared_tmp, ["another user"], marks=full),
    pytest.param(writes_in_home, [], marks=full),
    pytest.param(release_makes_a_database_in_home, []),
    pytest.param(uses_sqlite_beside_its_code, ["SQLite", "DATABASE_URL"], marks=full),
    pytest.param(needs_a_variable_of_previews, ["ONLY_PREVIEWS", "app.env"], marks=full),
    pytest.param(binds_its_previews_port, ["belongs to a preview", "PORT"], marks=full),
    pytest.param(needs_a_process, ["Its connection", "no process listens"], marks=full),
    pytest.param(needs_more_open_files, ["LimitNOFILE"], marks=full),
    pytest.param(reads_another_users_file, ["another user", "private"], marks=full),
    pytest.param(reads_a_private_file_of_its_build, [], marks=full),
    pytest.param(needs_the_network, ["needs the network"], marks=full),
]
# The gate runs `release:` in a sealed tree before it builds the release.
CODES = {release_writes_in_tree: "MIGRATION_FAILED"}
# With a private /tmp, or without other users, these ship.
MAY_SHIP = {writes_in_shared_tmp} if AS_ROOT else {writes_in_shared_tmp, reads_another_users_file}


@pytest.mark.parametrize(("make_files", "words"), CASES)
def test_what_differs_in_production_fails_before_main_moves_or_ships(
    make_files, words, small, ready_small
):
    main = small.remote_main()
    small.config.env_dir.mkdir(exist_ok=True)
    try:
        run = approve_and_execute(ready_small(make_files.__name__, make_files(small)))
    finally:
        (small.config.env_dir / "worker-preview.env").unlink(missing_ok=True)
    has_shipped = run.status == "merged"
    assert has_shipped == (not words) or make_files in MAY_SHIP, run.failure_detail
    if has_shipped:
        restore_main(small)
    else:
        code = CODES.get(make_files, "START_FAILED")
        assert run.failure_code == code, run.failure_detail
        assert [word for word in words if word not in run.failure_detail] == [], run.failure_detail
        assert small.remote_main() == main
        assert not Freeze.objects.filter(lifted_at=None).exists()
    assert find_remains(small) == []


def restore_main(world):
    """Commit the application's own files on main again."""
    world.commit("main", tiny.files(world.folder))


# What meets in production's home what an earlier release left there, and not in an empty one.
LEFT = {
    "a folder": 'os.mkdir(os.environ["HOME"] + "/made")',
    "a schema": (
        'import sqlite3; db = sqlite3.connect(os.environ["HOME"] + "/made"); '
        "db.execute('create table if not exists t(i, new)'); db.execute('select new from t')"
    ),
    "a socket": (
        "import socket; os.chdir(os.environ['HOME']); socket.socket(socket.AF_UNIX).bind('made')"
    ),
}


def leave(config, home, kind):
    """Leave in production's home what the release before would have left."""
    if kind == "a folder":
        (home / "made").mkdir()
    elif kind == "a schema":
        with closing(sqlite3.connect(home / "made")) as database:
            database.execute("create table t(i)")
    else:
        descriptor = os.open(home, os.O_PATH)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{descriptor}/made")  # its path is short
        os.close(descriptor)
    ownership.give_tree(home, config.app_user)


@pytest.fixture
def home(small):
    """Production's home, without files at the end."""
    path = colours.ensure_home(small.config)
    yield path
    ownership.delete_tree(path)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "a folder" else full) for kind in LEFT]
)
def test_a_release_that_fails_on_what_production_has_in_its_home_is_not_merged(
    kind, small, home, ready_small
):
    run = ready_small("start/left", server(LEFT[kind]))
    leave(small.config, home, kind)
    main = small.remote_main()
    run = approve_and_execute(run)
    assert (run.status, run.failure_code) == ("failed", "START_FAILED"), run.failure_detail
    assert "are copies of production's" in run.failure_detail
    assert small.remote_main() == main
    assert (home / "made").exists()
    assert find_remains(small) == []


@pytest.mark.full
def test_a_release_that_needs_what_production_has_in_its_home_ships(small, home, ready_small):
    (home / "license").write_text("1")
    ownership.give_tree(home, small.config.app_user)
    run = approve_and_execute(
        ready_small("start/needs", server('open(os.environ["HOME"] + "/license").read()'))
    )
    assert run.status == "merged", run.failure_detail
    restore_main(small)


LOCK = 'import fcntl; lock = open(os.environ["HOME"] + "/made", "w")'
TAKE = "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)"


def test_a_release_that_wants_a_lock_of_the_live_one_is_not_merged(small, home, ready_small, ships):
    assert ships("locks/first", server(f"{LOCK}; {TAKE}")).status == "merged"
    main = small.remote_main()
    run = approve_and_execute(ready_small("locks/next"))
    assert (run.status, run.failure_code) == ("failed", "START_FAILED"), run.failure_detail
    assert "The live release has locked made" in run.failure_detail
    assert small.remote_main() == main
    assert not Freeze.objects.filter(lifted_at=None).exists()
    assert find_remains(small) == []
    restore_main(small)


@pytest.mark.full
def test_a_release_that_starts_without_the_lock_ships(small, home, ready_small, ships):
    takes = (
        f"import threading; {LOCK}; threading.Thread(target=fcntl.flock, args=(lock, 2)).start()"
    )
    assert ships("locks/waits", server(takes)).status == "merged"
    run = approve_and_execute(ready_small("locks/waits-too"))
    assert run.status == "merged", run.failure_detail
    restore_main(small)


# Its file names the home; it gives up its lock once there is a file `wanted` in it.
GIVES_UP = """\
    import fcntl, threading, time
    home = os.environ["HOME"]
    lock = open(home + "/made", "r+" if os.path.exists(home + "/made") else "w+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        live = lock.read()
        open(live + "/wanted", "w").close()
        fcntl.flock(open(live + "/made"), fcntl.LOCK_EX)
        raise
    if "app-gates" not in home:
        lock.write(home)
        lock.flush()
    def give_up():
        while not os.path.exists(home + "/wanted"):
            time.sleep(0.05)
        fcntl.flock(lock, fcntl.LOCK_UN)
    threading.Thread(target=give_up, daemon=True).start()
"""


@pytest.mark.full
def test_a_release_that_meets_a_lock_of_a_moment_is_started_again(small, home, ready_small, ships):
    files = server(GIVES_UP.strip())
    assert ships("locks/moment", files).status == "merged"
    run = approve_and_execute(ready_small("locks/moment-next"))
    assert run.status == "merged", run.failure_detail
    assert (home / "wanted").exists()
    restore_main(small)


@pytest.mark.full
def test_a_home_above_the_limit_is_not_copied_and_the_run_says_so(
    small, home, ready_small, monkeypatch
):
    monkeypatch.setitem(small.config.environ, "MERGE_GATE_COPY_MB", "1")
    (home / "made").mkdir()
    (home / "made/large").write_bytes(b"1" * 2 * 2**20)
    run = approve_and_execute(
        ready_small(
            "start/large",
            server('home = os.environ["HOME"]; assert "gates" not in home or not os.listdir(home)'),
        )
    )
    assert run.status == "merged", run.failure_detail
    [note] = [note["text"] for note in run.notes if note["step"] == "start"]
    assert "production's uses more than 1 MiB (MERGE_GATE_COPY_MB)" in note
    restore_main(small)


@pytest.mark.full
def test_a_run_after_a_failed_start_ships(small, ready_small, ships):
    failed = approve_and_execute(ready_small("start/fails", server("raise SystemExit('no')")))
    assert (failed.status, failed.failure_code) == ("failed", "START_FAILED")
    assert "no" in failed.failure_detail.splitlines()
    assert ships("start/next").status == "merged"


@pytest.fixture
def killed_run(small, harness):
    """A run whose worker was killed while the sealed release ran."""

    def die(fault, monkeypatch):
        kill = lambda *words: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        monkeypatch.setattr(gate_start, "wait_until_healthy", kill)

    branch = f"start/killed/{small.commits()}"
    small.commit(branch, {"new.txt": branch})
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    execution.execute_run(run.pk)
    operations.approve(Run.objects.get(pk=run.pk), actor="grace")
    harness.inject = die
    assert harness.dies(run, "start", "running")
    assert len(find_remains(small)) > 1
    harness.expire_claims()
    return Run.objects.get(pk=run.pk)


def test_a_worker_that_takes_over_starts_the_release_again(small, killed_run):
    execution.execute_run(killed_run.pk)
    assert Run.objects.get(pk=killed_run.pk).status == "merged"
    assert find_remains(small) == []


@pytest.mark.full
def test_the_reconciler_stops_a_release_whose_run_has_ended(small, killed_run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(gate_start, "remove", lambda config, run_id: None)
        operations.cancel(killed_run, actor="ada", reason="no longer wanted")
        execution.execute_run(killed_run.pk)
        assert Run.objects.get(pk=killed_run.pk).status == "canceled"
    assert len(find_remains(small)) > 1
    reconciler.reconcile(small.config)
    assert find_remains(small) == []


@pytest.mark.full
def test_removing_another_runs_gate_leaves_the_present_release_alone(small, killed_run):
    gate_start.remove(small.config, "another")
    assert len(find_remains(small)) > 1
    gate_start.remove(small.config, str(killed_run.pk))
    assert find_remains(small) == []
    # Its run is gone after this test: a reconciler in a later one would find the rest.
    merge_gate.remove_gate(small.config, killed_run.pk)


@pytest.mark.full
def test_a_site_without_a_backend_has_nothing_to_start(small, ready_small):
    files = {"Procfile": None, "server.py": None, "release.py": None, "index.html": "<h1>Hi</h1>"}
    run = approve_and_execute(ready_small("start/static", files))
    assert (run.status, run.steps.get(name="start").result) == ("merged", {"has_backend": False})
    restore_main(small)
