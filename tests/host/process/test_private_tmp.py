"""A program of another user has empty /tmp, /var/tmp and /dev/shm and IPC objects of its own."""

import ctypes
import errno
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from host import config
from host.process import private_tmp, runner
from host.process.private_tmp import PrivateFolders
from tests.host.processes import ENV, RESERVED_USER

pytestmark = [pytest.mark.root, pytest.mark.mounts]
FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


@pytest.fixture
def run(open_path):
    def run(script, visible=(), env=ENV, cwd=Path("/"), hidden=Path("/opt")):
        log = open_path / "log"
        log.unlink(missing_ok=True)
        user = replace(RESERVED_USER, folders=PrivateFolders(hidden, tuple(visible)))
        outcome = runner.run(
            ["sh", "-c", script], cwd=cwd, log=log, timeout=60, env=dict(env), user=user
        )
        return outcome.exit_code, log.read_text()

    return run


@pytest.mark.parametrize("folder", FOLDERS)
def test_two_programs_write_the_same_file_and_neither_sees_the_others(run, folder):
    script = f"ls -A {folder}; echo a > {folder}/app.pid && cat {folder}/app.pid; umask"
    for _ in range(2):
        assert run(script) == (0, "a\n0022\n")
    assert not Path(folder, "app.pid").exists()


def test_the_three_folders_are_apart(run):
    assert run("touch /tmp/a /var/tmp/b /dev/shm/c; ls /tmp /var/tmp /dev/shm") == (
        0,
        "/dev/shm:\nc\n\n/tmp:\na\n\n/var/tmp:\nb\n",
    )


LEAVE_IPC = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.shmget(77, 4096, 0o1666), libc.semget(77, 1, 0o1666), libc.msgget(77, 0o1666))
print(libc.mq_open(b"/of-a-program", 0o102, 0o666, None) >= 0)
print(libc.shmget(77, 0, 0) >= 0, libc.mq_open(b"/of-a-program", 0) >= 0)
"""


def test_ipc_objects_of_each_kind_end_with_their_program(run):
    """POSIX message queues too, which have no owner that is shown, and no file system here."""
    script = f"{sys.executable} -I -S -c '{LEAVE_IPC}'"
    for _ in range(2):
        assert run(script, hidden=Path("/srv")) == (0, "0 0 0\nTrue\nTrue True\n")
    libc = ctypes.CDLL(None, use_errno=True)
    for call, *arguments in (
        (libc.mq_open, b"/of-a-program", 0),
        (libc.shmget, 77, 0, 0),
        (libc.semget, 77, 0, 0),
        (libc.msgget, 77, 0),
    ):
        assert (call(*arguments), ctypes.get_errno()) == (-1, errno.ENOENT), call


EXHAUST = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def count(make, limit=1100):
    for number in range(limit):
        if make() < 0:
            return number
    return limit
def terminal():
    try:
        return os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return -1
def semaphores():
    return libc.semget(0, 250, 0o600)
print(count(terminal), count(lambda: libc.msgget(0, 0o600)), count(semaphores), flush=True)
size = ctypes.c_size_t(64 * 2**20)
print(count(lambda: libc.shmget(0, size, 0o600)), flush=True)
ours, theirs = os.openpty()
"""


def test_a_program_has_a_limited_number_of_terminals_and_ipc_objects(run):
    """Of its own: another one has as many, and the host's are not fewer."""
    before = Path("/proc/sys/kernel/sem").read_text()
    script = f"{sys.executable} -I -S -c '{EXHAUST.replace(chr(39), chr(34))}'"
    for _ in range(2):
        code, text = run(script, hidden=Path("/srv"))
        assert text.splitlines()[:2] == ["64 256 128", "8"], text
        assert code != 0
        assert "OSError" in text  # no terminal is left to it
    for end in os.openpty():
        os.close(end)
    assert Path("/proc/sys/kernel/sem").read_text() == before


def test_a_program_opens_terminals_by_their_names(run):
    script = "python3 -c 'import os, pty; a, b = pty.openpty(); print(os.ttyname(b))'; ls /dev/pts"
    assert run(script) == (0, "/dev/pts/0\nptmx\n")


@pytest.fixture
def below_tmp():
    """A folder below /tmp itself that other users can reach, wherever TMPDIR is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_visible_folder_below_tmp_stays_with_its_rights(run, below_tmp):
    visible, hidden = below_tmp / "visible", below_tmp / "hidden"
    for folder in (visible, hidden):
        folder.mkdir()
        (folder / "file").write_text("seen\n")
    script = f"pwd; cat file; ls {hidden}; touch new"
    code, text = run(script, [visible], cwd=visible)
    assert code != 0
    assert text.startswith(f"{visible}\nseen\n")
    assert "Permission denied" in text  # of another user, as outside
    assert "No such file" in text


def test_the_callers_own_folders_and_working_directory_stay(run, open_path):
    before = os.getcwd()
    Path(open_path / "own").write_text("x")
    asked, seen = threading.Event(), []
    other = threading.Thread(
        target=lambda: asked.wait(60) and seen.append((open_path / "own").exists())
    )
    other.start()
    with private_tmp.private_tmp(PrivateFolders(open_path, ())) as works:
        asked.set()
        other.join()
        assert works
        assert not (open_path / "own").exists()
    assert seen == [True]
    assert os.getcwd() == before
    assert (open_path / "own").exists()


def test_users_of_applications_have_private_folders_and_postgresqls_has_not(tmp_path):
    conf = config.load({"OROBOROS_VAR": str(tmp_path)})
    applications = [conf.job_user, conf.install_user, conf.app_user, conf.slot_user(conf.slots[0])]
    assert {user.folders for user in applications} == {conf.private_folders}
    assert conf.postgres_user.folders is None


def test_a_call_that_the_kernel_refuses_is_named():
    with pytest.raises(OSError) as refused:
        private_tmp._call("unshare", -1)
    error = refused.value
    assert (error.errno, error.strerror) == (errno.EINVAL, os.strerror(errno.EINVAL))
    assert error.filename == "unshare"


def test_nothing_of_the_checkout_is_found_above_an_applications_tree(run, tmp_path):
    """As pytest, ruff, git and npm look for their configuration: upwards from the tree."""
    conf = config.load({"OROBOROS_VAR": str(config.HOME / "var")})
    script = f"cd {conf.home}; ls -A; cat host/config.py | head -c 3; echo x >new"
    log = tmp_path / "log"
    user = replace(conf.job_user, uid=RESERVED_USER.uid, gid=RESERVED_USER.gid)
    runner.run(["sh", "-c", script], cwd=Path("/"), log=log, timeout=60, env=dict(ENV), user=user)
    names = set(log.read_text().partition('"""')[0].split())
    shown = {".venv", "host", "slots"}
    there = {name for name in shown if (conf.home / name).exists()}  # a copy has no .venv
    assert {"host", "slots"} <= there <= names <= shown | {"var"}
    assert "Permission denied" in log.read_text() or "cannot create" in log.read_text()


IN_A_CHROOT = """
import os, sys
from pathlib import Path
from host.process import private_tmp
from host.process.private_tmp import CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC, PrivateFolders
root = Path(sys.argv[1])
private_tmp._call("unshare", CLONE_NEWNS)
private_tmp._mount("none", Path("/"), MS_REC | MS_PRIVATE)
for name in ("dev/shm", "proc", "tmp", "var/tmp", "opt"):
    (root / name).mkdir(parents=True)
private_tmp._mount("/proc", root / "proc", MS_BIND | MS_REC)
os.chroot(root)
os.chdir("/opt")
with private_tmp.private_tmp(PrivateFolders(Path("/opt"), ())):
    pass
print(sorted(os.listdir("/")), os.getcwd())
"""


def test_a_process_in_a_chroot_returns_to_its_root(tmp_path):
    program = [sys.executable, "-c", IN_A_CHROOT, str(tmp_path)]
    done = subprocess.run(
        program, cwd=config.HOME, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "['dev', 'opt', 'proc', 'tmp', 'var'] /opt\n", done.stderr
