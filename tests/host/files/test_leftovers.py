"""What a user left in the folders of all users, and its System V IPC objects, is removed."""

import ctypes
import os
import sys
from pathlib import Path

import pytest

from host.files import leftovers
from host.process import runner
from tests.host.processes import ENV, RESERVED_USER, ROOT

UID = RESERVED_USER.uid
OTHER = UID + 1
# One of each kind, and files in each folder.
LEAVE = """
import ctypes, os
libc = ctypes.CDLL(None)
assert libc.shmget(0, 4096, 0o1600) >= 0
assert libc.semget(0, 1, 0o1600) >= 0
assert libc.msgget(0, 0o1600) >= 0
for folder in ("/tmp", "/var/tmp", "/dev/shm"):
    os.makedirs(f"{folder}/left-{os.getuid()}/a/b")
    open(f"{folder}/left-{os.getuid()}/a/file", "w").close()
    os.chmod(f"{folder}/left-{os.getuid()}/a", 0)
    os.symlink("/etc", f"{folder}/link-{os.getuid()}")
"""


@pytest.mark.root
def test_files_and_ipc_objects_of_a_user_are_found_and_removed_and_others_stay(tmp_path):
    argv = [sys.executable, "-I", "-S", "-c", LEAVE]
    done = runner.run(argv, cwd=ROOT, env=ENV, log=tmp_path / "log", timeout=60, user=RESERVED_USER)
    assert done.exit_code == 0, (tmp_path / "log").read_text()
    number = ctypes.CDLL(None).shmget(0, 4096, 0o1600)
    try:
        assert len(leftovers.find_leftovers(UID)) == 9
        leftovers.remove_leftovers(UID)
        assert leftovers.find_leftovers(UID) == []
        assert str(leftovers.IpcObject("shm", number)) in leftovers.find_leftovers(0)
    finally:
        ctypes.CDLL(None).shmctl(number, leftovers.IPC_RMID, None)


@pytest.mark.root
def test_files_in_open_folders_of_others_are_removed_and_no_link_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "FOLDERS", (tmp_path, Path("/nowhere")))
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        os.chown(tmp_path / name / "file", UID, UID)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "link").symlink_to(kept)
    (kept / "mine").touch()
    os.chown(kept / "mine", UID, UID)
    (tmp_path / "open" / "theirs").touch()
    os.chown(tmp_path / "open" / "theirs", OTHER, OTHER)
    leftovers.remove_leftovers(UID)
    assert sorted(path.name for path in (tmp_path / "open").iterdir()) == ["link", "theirs"]
    assert (kept / "mine").exists()  # others may not write there: it is no leftover


@pytest.mark.parametrize("uid", [0, os.getuid()])
def test_nothing_of_root_or_of_this_user_is_removed(uid):
    with pytest.raises(ValueError, match="not a reserved one"):
        leftovers.remove_leftovers(uid)
