"""The folder of an installation's env files: what is moved, what is kept, and what is refused."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from host.config import APPLICATION_FILES, HOME
from host.errors import Refused
from host.process.users import User
from ops.installed import env_folder

ME = User(os.geteuid(), os.getegid())
TEXT = "# written\n"


@pytest.fixture
def folder(tmp_path):
    """A folder of an earlier version, whose files are not links."""
    for name in APPLICATION_FILES[:2]:
        (tmp_path / name).write_text(f"A={name}\n")
        (tmp_path / name).chmod(0o400)
    return tmp_path


def move(folder):
    env_folder.move_variables(folder, TEXT, ME)


def test_files_are_moved_with_content_and_mode_and_their_names_lead_to_them(folder):
    before = [(folder / name).stat() for name in APPLICATION_FILES[:2]]
    for _ in range(2):  # a repetition changes nothing
        move(folder)
        texts = [(folder / name).read_text() for name in APPLICATION_FILES]
        assert texts == ["A=worker-preview.env\n", "A=app.env\n", TEXT]
    for name in APPLICATION_FILES:
        assert (folder / name).readlink() == Path("variables") / name
    after = [(folder / "variables" / name).lstat() for name in APPLICATION_FILES[:2]]
    assert [(one.st_ino, one.st_mode) for one in after] == [
        (one.st_ino, one.st_mode) for one in before
    ]
    assert (folder / "variables").stat().st_mode & 0o777 == 0o700
    assert (folder / "variables" / "build.env").stat().st_mode & 0o777 == 0o600


def test_a_move_that_was_interrupted_is_completed(folder):
    (folder / "variables").mkdir()
    (folder / "variables" / "app.env").hardlink_to(folder / "app.env")
    assert env_folder.find_problems(folder) == []
    move(folder)
    assert (folder / "app.env").is_symlink()
    assert (folder / "app.env").read_text() == "A=app.env\n"


@pytest.mark.parametrize("kept", [0, 1])
def test_two_files_of_a_name_are_refused_with_the_command_that_keeps_either(folder, kept):
    move(folder)
    (folder / "app.env").unlink()
    (folder / "app.env").write_text("A=replaced\n")
    with pytest.raises(Refused) as caught:
        move(folder)
    assert caught.value.code == "not_ready"
    texts = [(folder / place / "app.env").read_text() for place in (".", "variables")]
    assert texts == ["A=replaced\n", "A=app.env\n"]
    commands = re.findall(r": ((?:mv|rm) [^ ]+(?: [^ ]+)?)\.(?: |$)", caught.value.detail)
    subprocess.run(commands[kept].split(), check=True)
    move(folder)
    assert (folder / "app.env").is_symlink()
    assert (folder / "app.env").read_text() == texts[kept]


def test_a_link_of_the_operators_own_stays(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere.env"
    elsewhere.write_text("A=1\n")
    (folder / "build.env").symlink_to(elsewhere)
    move(folder)
    assert (folder / "build.env").readlink() == elsewhere


@pytest.mark.root
def test_a_link_of_another_user_is_refused_and_what_it_leads_to_stays(folder, tmp_path):
    (folder / "build.env").symlink_to("/etc/passwd")
    os.chown(folder / "build.env", 60999, 60999, follow_symlinks=False)
    with pytest.raises(Refused, match=r"build\.env is a link of another user"):
        move(folder)
    assert not (folder / "variables").exists()


def test_a_folder_of_variables_that_is_a_link_is_refused(folder, tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o755)
    (folder / "variables").symlink_to(tmp_path / "theirs")
    with pytest.raises(Refused, match="is no folder"):
        move(folder)
    assert (tmp_path / "theirs").stat().st_mode & 0o777 == 0o755


@pytest.mark.root
def test_the_folder_of_an_earlier_version_is_given_back_to_root(folder, monkeypatch):
    monkeypatch.setattr(env_folder, "SERVICE", "root")
    os.chown(folder, 0, 60999)
    folder.chmod(0o1775)
    assert (env_folder.is_closed(folder), env_folder.has_variables(folder)) == (False, False)
    env_folder.close(folder)
    move(folder)
    assert (env_folder.is_closed(folder), env_folder.has_variables(folder)) == (True, True)
    (folder / "app.env").unlink()
    assert not env_folder.has_variables(folder)


def test_the_apis_unit_may_write_in_the_folder_of_variables_and_nowhere_else_in_etc():
    text = (HOME / "infra/systemd/units/ouroboros-api.service").read_text()
    paths = re.findall(r"^ReadWritePaths=(.*)$", text, re.MULTILINE)
    assert paths == ["/srv/oroboros/var /run/oroboros -/etc/oroboros/variables"]
