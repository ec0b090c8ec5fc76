"""A preview's application may write where production's may, and nowhere else."""

from types import SimpleNamespace

from host.files import tree_shield
from host.process import private_tmp
from runs.pipelines import preview
from tests.runs.pipelines.preview.conftest import TOML, WEB

SERVER = """
import http.server, os
for place in PLACES:
    with open(os.path.expandvars(place), "x") as file:
        file.write("1")
http.server.HTTPServer(
    ("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler
).serve_forever()
"""
BUILD = """
import os, subprocess
open("built", "w").write("by the build")
git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
print("git:", git.stdout, git.stderr)
folder = os.getcwd()
while folder != "/":
    folder = os.path.dirname(folder)
    for name in (".git", "pyproject.toml", "pytest.ini", "package.json", ".gitignore"):
        path = os.path.join(folder, name)
        assert not os.path.exists(path) or open(path).read() == SHIELD.get(name), path
"""


def files(places):
    return {
        "Procfile": "web: python server.py\n",
        "oroboros.toml": TOML + 'build = "python build.py"\n',
        "server.py": SERVER.replace("PLACES", repr(places)),
        "build.py": BUILD.replace("SHIELD", repr(tree_shield.FILES)),
    }


def test_an_application_writes_to_its_home_and_to_a_tmp_of_its_own(place):
    places = ["$HOME/a", "$TMPDIR/b"]
    if private_tmp.is_supported():
        places += [f"{folder}/app.pid" for folder in ("/tmp", "/var/tmp", "/dev/shm")]
    for branch in ("try/one", "try/two"):  # in two slots at once, with the same names
        run = place.preview(branch, files(places))
        log = run.artifacts.get(name="build_log").path
        assert run.status == "preview_ready", log
    assert place.page("/built").text == "by the build"
    if private_tmp.is_supported():
        assert "git:" in place.artifact(run, "build_log")
        assert "not a git repository" in place.artifact(run, "build_log")


def test_a_release_command_that_writes_beside_its_code_fails_as_in_production(place):
    collect = {
        "Procfile": f"{WEB}release: python collect.py\n",
        "collect.py": "open('static/made.css', 'w')\n",
        "static/a.css": "",
        "oroboros.toml": TOML + 'build = "python build.py"\n',
        "build.py": "open('static/built.css', 'w')\n",
    }
    run = place.carry("try/release", collect)
    assert (run.status, run.failure_code) == ("failed", "MIGRATION_FAILED")
    assert "made.css could not be written." in run.failure_detail
    assert run.steps.get(name="build").status == "succeeded"


def test_a_kernel_that_refuses_mounts_is_on_every_run(monkeypatch):
    config = SimpleNamespace(is_root=True, is_systemd=False, private_folders=None)
    monkeypatch.setattr(private_tmp, "is_allowed", lambda folders: False)
    [note] = preview.describe_isolation(config)
    assert "share /tmp" in note and "doctor.sh" in note
    config.is_systemd = True
    assert preview.describe_isolation(config) == []


def test_an_application_that_writes_beside_its_code_fails_with_the_files_name(place):
    run = place.carry("try/beside", files(["server.pid"]))
    assert (run.status, run.failure_code) == ("failed", "BACKEND_UNHEALTHY")
    assert run.failure_detail.startswith("server.pid could not be written.")
    assert "manifest.md" in run.failure_detail
