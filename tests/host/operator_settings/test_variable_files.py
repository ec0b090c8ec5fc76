"""The variables of applications in the operator's files: what is written, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from host import config as configuration
from host.config import read_env_file
from host.errors import Refused
from host.files.file_lock import file_lock
from host.operator_settings import variable_files

PREVIEWS, PRODUCTION, BUILDS = variable_files.FILES


@pytest.fixture
def config(tmp_path):
    (tmp_path / "env").mkdir()
    environ = {"OROBOROS_VAR": str(tmp_path), "OROBOROS_ENV_DIR": str(tmp_path / "env")}
    return configuration.load(environ)


@pytest.fixture
def path(config):
    found = config.env_dir / PREVIEWS.name
    found.write_text("# by hand\nA=1 # one\nB=2\n")
    found.chmod(0o600)
    return found


def refused(config, *arguments, file=PREVIEWS, **options):
    with pytest.raises(Refused) as caught:
        variable_files.write_variable(config, file, *arguments, **options)
    return caught.value.code


def test_each_file_is_the_one_that_an_environment_reads():
    names = [file.name for file in variable_files.FILES]
    assert names == list(configuration.APPLICATION_FILES)
    assert [variable_files.find_file(file.key) for file in variable_files.FILES] == list(
        variable_files.FILES
    )
    with pytest.raises(Refused, match="previews, production, builds"):
        variable_files.find_file("api.env")


def test_a_variable_is_added_changed_and_removed_and_the_rest_of_the_file_stays(config, path):
    assert variable_files.write_variable(config, PREVIEWS, "KEY", "a\nb") == ("added", "")
    assert variable_files.write_variable(config, PREVIEWS, "A", "it's # new") == (
        "changed",
        "",
    )
    assert path.read_text() == '# by hand\nA="it\'s # new"\nB=2\nKEY="a\nb"\n'
    assert variable_files.write_variable(config, PREVIEWS, "B", None) == ("removed", "")
    assert read_env_file(path) == {"A": "it's # new", "KEY": "a\nb"}
    assert variable_files.read_state(config, PREVIEWS).names == ("A", "KEY")


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode_and_its_link(config, tmp_path):
    variable_files.write_variable(config, BUILDS, "TOKEN", "sesame")
    assert (config.env_dir / "build.env").stat().st_mode & 0o777 == 0o600
    kept, link = tmp_path / "kept.env", config.env_dir / PRODUCTION.name
    kept.write_text("A=1\n")
    kept.chmod(0o400)
    link.symlink_to(kept)
    variable_files.write_variable(config, PRODUCTION, "A", "2")
    assert link.is_symlink()
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("A=2\n", 0o400)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("1A", "x", "env_key_invalid"),
        ("A B", "x", "env_key_invalid"),
        ("A\nB", "x", "env_key_invalid"),
        ("", "x", "env_key_invalid"),
        ("A" * 201, "x", "env_key_invalid"),
        ("DATABASE_URL", "x", "env_key_forbidden"),
        ("LD_PRELOAD", "x", "env_key_forbidden"),
        ("OROBOROS_ENV_DIR", "x", "env_key_forbidden"),
        ("A", "x\0", "env_file_invalid"),
        ("A", "x\r\ny", "env_value_invalid"),
        ("A", "\ud800", "env_value_invalid"),
        ("A", "x" * 65536, "env_file_too_large"),
        ("ABSENT", None, "variable_not_set"),
    ],
)
def test_a_wrong_change_is_refused_and_nothing_is_written(config, path, name, value, code):
    before = path.read_bytes()
    assert refused(config, name, value) == code
    assert path.read_bytes() == before


def test_a_secret_of_the_control_plane_is_refused_and_a_left_out_name_is_said(config):
    secret = replace(config, environ={**config.environ, "SECRET_KEY": "sesame-of-ours"})
    assert refused(secret, "A", "sesame-of-ours") == "env_secret_forbidden"
    environ = {**config.environ, "WORKER_SUBPROCESS_ENV_BLOCKLIST": "AWS_*"}
    blocked = replace(config, environ=environ)
    done, note = variable_files.write_variable(blocked, PREVIEWS, "AWS_KEY", "x")
    assert (done, "WORKER_SUBPROCESS_ENV_BLOCKLIST" in note) == ("added", True)


def test_a_change_of_what_another_person_changed_meanwhile_is_refused(config, path):
    seen = variable_files.read_state(config, PREVIEWS).version
    variable_files.write_variable(config, PREVIEWS, "A", "theirs", version=seen)
    assert refused(config, "A", "ours", version=seen) == "env_file_changed"
    assert read_env_file(path)["A"] == "theirs"
    absent = variable_files.read_state(config, BUILDS).version
    variable_files.write_variable(config, BUILDS, "A", "1", version=absent)
    assert refused(config, "A", "2", file=BUILDS, version=absent) == "env_file_changed"


def test_what_cannot_be_recorded_is_not_written(config, path):
    before = path.read_bytes()
    seen = []

    def fail(done):
        seen.append(done)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        variable_files.write_variable(config, PREVIEWS, "A", "2", record=fail)
    assert (seen, path.read_bytes()) == (["changed"], before)


def test_two_changes_at_a_time_wait_for_each_other_and_not_for_ever(config, path, monkeypatch):
    monkeypatch.setattr(variable_files, "LOCK_SECONDS", 0.1)
    with file_lock(config.var / "settings" / f"{PREVIEWS.name}.lock", seconds=0):
        assert refused(config, "A", "2") == "env_file_busy"
    assert variable_files.write_variable(config, PREVIEWS, "A", "2")[0] == "changed"


def test_a_file_with_a_bad_line_is_named_and_is_not_written_over(config, path):
    path.write_text("A=1\nsesame\n")
    state = variable_files.read_state(config, PREVIEWS)
    assert (state.names, "worker-preview.env line 2" in state.problem) == ((), True)
    assert "sesame" not in state.problem
    assert refused(config, "A", "2") == "env_line_invalid"
    assert path.read_text() == "A=1\nsesame\n"


def test_a_forbidden_name_that_stands_in_the_file_can_be_removed(config, path):
    path.write_text("DATABASE_URL=x\nB=2\n")
    assert variable_files.write_variable(config, PREVIEWS, "DATABASE_URL", None)[0] == "removed"
    assert path.read_text() == "B=2\n"


def test_a_folder_that_cannot_be_written_is_said_with_what_to_do(config):
    unwritable = replace(config, env_dir=Path("/proc/self"))
    with pytest.raises(Refused, match="on the host") as caught:
        variable_files.write_variable(unwritable, PREVIEWS, "A", "1")
    assert caught.value.code == "env_file_not_writable"


def test_a_reason_that_has_the_value_is_refused():
    with pytest.raises(Refused, match="leave the value out"):
        variable_files.check_reason("it is sesame-4711 now", "sesame-4711")
    with pytest.raises(Refused, match="leave the value out"):
        variable_files.check_reason("password is sesame-4711", "https://ann:sesame-4711@b.example")
    with pytest.raises(Refused, match="leave the value out"):
        variable_files.check_reason("line is sesame-4711", "first line\nsesame-4711\n")
    variable_files.check_reason("on for all", "on")
    variable_files.check_reason("not used", None)
