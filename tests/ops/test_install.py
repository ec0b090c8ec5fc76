"""The environment is made once for each pin and interpreter, and uv's own hash is checked."""

import subprocess

import pytest

from host import config as configuration
from host.errors import Refused
from ops import install

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
def told(config, monkeypatch):
    """Note the commands instead of running them; `uv venv` leaves a folder."""
    commands = []

    def run(config, argv, waiting=None):
        commands.append(list(argv[1:3]))
        (config.home / ".venv/bin").mkdir(parents=True, exist_ok=True)
        (config.home / ".venv/bin/python").touch()

    monkeypatch.setattr(install, "run", run)
    monkeypatch.setattr(install, "find_uv", lambda config, waiting: "uv")
    return commands


def test_the_second_time_nothing_is_done(config, told):
    install.install(config, "embedded")
    assert told == [["venv", "--quiet"], ["pip", "install"]]
    install.install(config, "embedded")
    assert len(told) == 2


def test_a_changed_pin_is_installed(config, told):
    install.install(config, "embedded")
    (config.home / "requirements/embedded.txt").write_text(PINS)
    install.install(config, "embedded")
    assert told.count(["pip", "install"]) == 2


def test_what_a_developer_has_is_enough_for_the_stack(config, told):
    install.install(config, "dev")
    install.install(config, "embedded")
    assert told.count(["pip", "install"]) == 1
    install.install(config, "dev")
    assert told.count(["pip", "install"]) == 1


def test_an_install_that_failed_is_tried_again(config, told, monkeypatch):
    def fail(config, argv, waiting=None):
        raise Refused("install_failed", "no network")

    monkeypatch.setattr(install, "run", fail)
    with pytest.raises(Refused, match="no network"):
        install.install(config, "embedded")
    monkeypatch.undo()
    wanted = install.stamp(config.home, "embedded")
    assert not install.is_stamped(config.home / ".venv", "embedded", wanted)


def test_a_failing_command_says_the_end_of_its_log(config):
    with pytest.raises(Refused, match="out of luck") as refused:
        install.run(config, ["sh", "-c", "echo out of luck; exit 3"])
    assert refused.value.code == "install_failed"


def test_the_pin_of_uv_is_taken_with_all_of_its_hashes():
    assert install.uv_pin(PINS) == ("uv==0.9.1 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n")


@pytest.mark.parametrize("name", ["base", "embedded", "dev"])
def test_every_requirement_is_pinned_with_hashes_and_uv_is_among_them(name):
    text = (configuration.HOME / "requirements" / f"{name}.txt").read_text()
    assert "--hash=sha256:" in install.uv_pin(text)
    for entry in text.split("\n"):
        if entry and not entry.startswith((" ", "#")):
            assert "==" in entry, entry
            assert entry.endswith("\\"), entry


def test_the_scripts_say_what_to_do_where_nothing_is_installed(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("runtime-up.sh", "runtime-down.sh", "runtime-health-check.sh"):
        script = tmp_path / "scripts" / name
        script.write_bytes((configuration.HOME / "scripts" / name).read_bytes())
        done = subprocess.run(["bash", script], capture_output=True, text=True)
        assert done.returncode == 1
        assert "./scripts/quickstart.sh" in done.stderr
