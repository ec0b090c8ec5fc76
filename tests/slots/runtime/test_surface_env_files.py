"""The surfaces' env files name the ports on which the surfaces of this checkout listen."""

import shutil

import pytest

from host import config as configuration
from host.config import read_env_file
from slots.runtime import surface, surface_env_files


@pytest.fixture
def home(tmp_path):
    """Return a checkout of which only the env files exist."""
    folder = tmp_path / surface_env_files.FOLDER
    shutil.copytree(configuration.HOME / surface_env_files.FOLDER, folder)
    return tmp_path


def load(home, offset):
    return configuration.load({"OROBOROS_PORT_OFFSET": str(offset)}, home=home)


def read(config, name):
    return read_env_file(surface_env_files.find_path(config, name))


def test_without_an_offset_the_files_have_the_runbooks_ports_and_stay_as_they_are(home):
    config = load(home, 0)
    surface_env_files.write(config)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*.env")}
    assert surface_env_files.write(config) == []
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*.env")} == before
    found = [read(config, name) for name in surface_env_files.list_names(config)]
    assert [(one["WEB_PORT"], one["WEB_API_PROXY_TARGET"]) for one in found] == [
        ("3100", "{re.live.2}"),
        ("3101", "127.0.0.1:8101"),
        ("3102", "127.0.0.1:8102"),
        ("3103", "127.0.0.1:8103"),
    ]


def test_an_offset_is_written_into_every_file(home):
    config = load(home, 10_000)
    assert len(surface_env_files.write(config)) == 4
    assert read(config, "main")["WEB_PORT"] == "13100"
    assert read(config, "preview1") == {
        "WEB_PORT": "13101",
        "WEB_ROOT": "var/slots/preview-1",
        "WEB_API_PROXY_TARGET": "127.0.0.1:18101",
    }


def test_a_file_and_the_surface_have_the_same_ports_whatever_the_file_had_before(home):
    surface_env_files.write(load(home, 10_000))
    for offset in (2_000, 0):
        config = load(home, offset)
        surface_env_files.write(config)
        for name in surface_env_files.list_names(config):
            environment = surface.build_environment(config, name)
            for key in ("WEB_PORT", "WEB_API_PROXY_TARGET"):
                assert environment[key] == read(config, name)[key]


def test_going_back_to_no_offset_restores_the_file_byte_for_byte(home):
    surface_env_files.write(load(home, 0))
    path = surface_env_files.find_path(load(home, 0), "preview3")
    before = path.read_bytes()
    surface_env_files.write(load(home, 10_000))
    assert path.read_bytes() != before
    surface_env_files.write(load(home, 0))
    assert path.read_bytes() == before
