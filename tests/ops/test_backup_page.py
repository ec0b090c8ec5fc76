"""The archive of docs/backup-and-restore.md has production's uploads, and brings them back."""

import subprocess

import pytest

from host import config as configuration
from host.files import ownership
from releases.builds.build_folders import production_storage
from tests.systemd.docs_commands import read_commands


@pytest.fixture
def root(tmp_path):
    """The root folder of a host with the files that a backup has."""
    for command in read_commands("backup-and-restore.md")["Back up"]:
        for word in command.split():
            if word.startswith("var/"):
                (tmp_path / "srv/oroboros" / word).mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc/oroboros").mkdir(parents=True)
    (tmp_path / "var/backups/oroboros").mkdir(parents=True)
    return tmp_path


def follow_archives(heading, root):
    """Run the commands of the page that pack or unpack an archive, on the host at `root`."""
    commands = [one for one in read_commands("backup-and-restore.md")[heading] if "tar -" in one]
    for command in commands:
        for folder in ("/srv/oroboros", "/var/backups/oroboros"):
            command = command.replace(folder, f"{root}{folder}")
        command = command.replace("-C / ", f"-C {root} ")
        subprocess.run(["/bin/sh", "-c", command], cwd=root / "srv/oroboros", check=True)
    return len(commands)


def test_an_upload_that_was_changed_or_deleted_is_as_it_was_and_a_later_one_is_gone(root):
    config = configuration.load({}, home=root / "srv/oroboros")
    media = production_storage(config) / "media"
    (media / "2026").mkdir(parents=True)
    for name in ("kept.png", "2026/deleted.png"):
        (media / name).write_text(name)
        (media / name).chmod(0o664)
    assert follow_archives("Back up", root) == 1
    (media / "kept.png").write_text("changed")
    ownership.delete_tree(media / "2026")
    (media / "later.png").touch()
    assert follow_archives("Restore", root) == 2
    assert (media / "kept.png").read_text() == "kept.png"
    assert (media / "2026/deleted.png").stat().st_mode & 0o777 == 0o664
    assert sorted(path.name for path in media.iterdir()) == ["2026", "kept.png"]
