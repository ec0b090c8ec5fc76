"""The installation may be repeated: what is gone, or not as it was, is made again."""

import getpass
import grp
import os
import shutil
from dataclasses import replace

import pytest

from host import config as configuration
from host.files.safe_files import replace_link
from ops import systemd
from ops.installed import install_steps, secret_env_files
from slots.runtime import backend_log


@pytest.fixture(autouse=True)
def user(monkeypatch):
    """Have the steps give files to the user of the tests."""
    monkeypatch.setattr(install_steps, "SERVICE", getpass.getuser())
    return grp.getgrgid(os.getegid()).gr_name


def make_step(kind, path, group):
    if kind == "file":
        return install_steps.text_step(path, "[Unit]\n")
    if kind == "link":
        return install_steps.link_step(path, path.with_name("file"))
    if kind == "log":
        return install_steps.log_step(path, group)
    return install_steps.folder_step(path, 0o750, group)


def remove(path):
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("kind", ["file", "link", "log", "folder"])
def test_what_is_gone_is_made_again(kind, tmp_path, user):
    path = tmp_path / "made"
    step = make_step(kind, path, user)
    for _ in range(2):
        assert not step.is_done()
        step.apply()
        assert step.is_done()
        remove(path)


def test_a_changed_file_and_a_link_that_leads_elsewhere_are_made_again(tmp_path, user):
    path = tmp_path / "made"
    for kind, change in (("file", lambda: path.write_text("other")),
                         ("link", lambda: replace_link(tmp_path, path))):  # fmt: skip
        step = make_step(kind, path, user)
        step.apply()
        change()
        assert not step.is_done()
        step.apply()
        assert step.is_done()
        path.unlink()


def test_a_folder_that_others_cannot_enter_any_more_is_opened_again(tmp_path, user):
    path = tmp_path / "made"
    step, closed = make_step("folder", path, user), install_steps.folder_step(path, needed=0o700)
    step.apply()
    path.chmod(0o700)
    assert not step.is_done()
    assert closed.is_done()
    step.apply()
    assert step.is_done()


def test_the_runbooks_log_paths_and_the_folder_of_jobs_are_made_again(tmp_path, monkeypatch):
    logs, jobs = tmp_path / "logs", tmp_path / "jobs"
    monkeypatch.setattr(backend_log, "LINKS_FOLDER", logs)
    monkeypatch.setattr(systemd.jobs, "FOLDER", jobs)
    config = replace(configuration.load({"OROBOROS_SLOTS": "2"}), environ={})
    [step] = [one for one in systemd.plan_steps(config) if "log paths" in one.description]
    assert not step.is_done()
    logs.mkdir()
    jobs.mkdir()
    for name in ("preview-1.log", "preview-2.log"):
        assert not step.is_done()
        # A link whose log is not there yet is as it should be.
        (logs / name).symlink_to(tmp_path / "absent")
    assert step.is_done()
    jobs.rmdir()
    assert not step.is_done()


def test_settings_of_the_shell_are_written_under_the_names_that_they_have_there():
    databases = {
        "PREVIEW_ADMIN_DATABASE_URL": "postgresql://admin:x@127.0.0.1/postgres",
        "PREVIEW_BACKEND_DATABASE_URL_TEMPLATE": "postgresql://127.0.0.1/{db_name}",
    }
    shell = {
        "GIT_REMOTE_URL": "ssh://git@git.example/team.git",
        "https_proxy": "http://proxy.example:3128",
        "no_proxy": "localhost",
        "PIP_INDEX_URL": "https://index.example/simple",
        "SSL_CERT_FILE": "/etc/ssl/authorities.pem",
    }
    config = configuration.load({**databases, **shell, "EDITOR": "vi"})
    written = secret_env_files.SECRET_FILES["worker.env"](config)
    assert written == {**databases, **shell}
