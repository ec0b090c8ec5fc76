"""The command `detect`: of a folder, and of the git remote before quickstart starts anything."""

import json
import subprocess

import pytest

from host import config as configuration
from host.errors import Refused
from ops import detect, progress, quickstart, stack


@pytest.fixture
def application(tmp_path):
    folder = tmp_path / "my app"
    folder.mkdir()
    (folder / "app.py").write_text("app = Flask(__name__)")
    (folder / "requirements.txt").write_text("flask\n")
    return folder


def test_the_script_takes_a_path_relative_to_the_callers_folder(application):
    argv = [str(configuration.HOME / "scripts/detect.sh"), "my app"]
    done = subprocess.run(argv, cwd=application.parent, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert any(
        line.split() == ["framework", "Flask", "app.py"] for line in done.stdout.splitlines()
    )


def test_json_says_what_fails_and_a_path_that_is_no_folder_is_refused(application, capsys):
    config = configuration.load()
    (application / "app.py").unlink()
    assert detect.print_folder(config, application, as_json=True) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], len(answer["problems"])) == (False, 1)
    with pytest.raises(Refused, match="absent is no folder"):
        detect.print_folder(config, application / "absent", as_json=True)


def test_quickstart_prints_the_repositorys_table_before_it_starts_anything(
    application, tmp_path, monkeypatch
):
    remote = tmp_path / "remote.git"
    for argv in (
        ["init", "-q", "-b", "main", str(application)],
        ["-C", str(application), "add", "."],
        ["-C", str(application), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
        ["clone", "-q", "--bare", str(application), str(remote)],
    ):
        subprocess.run(["git", *argv], check=True)
    environ = {
        "OROBOROS_VAR": str(tmp_path / "var"),
        "OROBOROS_ENV_DIR": str(tmp_path / "env"),
        "GIT_REMOTE_URL": str(remote),
        "GIT_LOCAL_ROOTS": str(tmp_path),
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    lines = []
    monkeypatch.setattr(progress, "print_line", lines.append)

    class StartedError(Exception):
        pass

    def refuse_start(config):
        raise StartedError

    monkeypatch.setattr(stack, "get_cluster", refuse_start)
    with pytest.raises(StartedError):
        quickstart.prepare()
    assert f"Recognized in main of {remote}:" in lines
    assert any(line.split()[:2] == ["framework", "Flask"] for line in lines)
    # A stack that has a release starts while the remote is down.
    config = configuration.load()
    (config.var / "current").mkdir()
    lines.clear()
    with pytest.raises(StartedError):
        quickstart.prepare()
    assert not any("Recognized" in line for line in lines)
    assert detect.inspect_target_branch(config).is_complete
