"""Installing, building and running an application, with real commands."""

import os
from dataclasses import replace

import pytest

from host import config, log_message
from host.app.application import Application, read_application
from host.app.command_runner import CommandFailed
from host.app.dependencies.install import Install
from host.app.environment import build_database_variables
from host.app.manifest import Manifest
from host.app.planning import Command, Plan
from host.errors import Refused

URL = "postgresql://app_preview_1:p4ssw0rd@127.0.0.1:1/app_preview_1"


def write_script(root, name, text):
    (root / name).write_text(f"#!/bin/sh\n{text}\n")
    (root / name).chmod(0o755)


@pytest.fixture
def make_app(tmp_path):
    """Return an application at `tmp_path`/tree with such a plan."""
    conf = config.load({"OROBOROS_VAR": str(tmp_path / "var"), "SECRET_KEY": "k" * 40})
    root = tmp_path / "tree"
    root.mkdir()

    def make(*, manifest=None, installs=(), builds=()):
        plan = Plan(installs, builds, None, None, None, ())
        return Application(conf, root, manifest or Manifest(), plan, None)

    return make


def test_a_command_is_logged_without_the_password_that_its_argv_has(make_app, tmp_path):
    app, log = make_app(), tmp_path / "log"
    write_script(app.root, "release", 'echo "$1" > argument')
    command = Command("release", ("./release", "$DATABASE_URL"))
    app.run(command, build_database_variables(URL), purpose="preview-1", log=log)
    assert (app.root / "argument").read_text() == f"{URL}\n"
    assert log.read_text() == "$ ./release $DATABASE_URL\n"


@pytest.mark.parametrize("stage", ["build", "check", "run"])
def test_builds_and_checks_reach_the_hosts_registries_and_the_application_does_not(
    make_app, tmp_path, stage
):
    app, log = make_app(), tmp_path / "log"
    index = {"UV_INDEX_URL": "https://ci:s3cr3t-pw@i.example/simple", "ALL_PROXY": "http://p"}
    app = replace(app, config=replace(app.config, environ={**app.config.environ, **index}))
    write_script(app.root, "show", 'echo "$PIP_INDEX_URL $HTTPS_PROXY"; cat "$HOME/.netrc"')
    command = Command("show", ("./show",), stage=stage)
    if stage == "run":
        with pytest.raises(CommandFailed):
            app.run(command, {}, purpose="test", log=log)
        assert "i.example" not in log.read_text()
        return
    app.run(command, {}, purpose="test", log=log)
    text = log.read_text()
    assert "https://i.example/simple http://p\n" in text and "machine i.example" in text
    assert "s3cr3t" not in text


def test_a_failed_command_raises_its_name_and_reason(make_app, tmp_path):
    app, log = make_app(), tmp_path / "log"
    write_script(app.root, "fail", "echo output; exit 3")
    with pytest.raises(CommandFailed, match=r"^seed ended with exit code 3$") as failed:
        app.run(Command("seed", ("./fail",)), {}, purpose="test", log=log)
    assert (failed.value.timed_out, failed.value.was_stopped) == (False, False)
    assert log.read_text() == "$ ./fail\noutput\n"


def test_the_message_of_a_failed_command_has_nothing_of_the_attempts_before(make_app, tmp_path):
    app, log = make_app(), tmp_path / "log"
    log.write_text("ValueError: of the attempt before\n")
    write_script(app.root, "fail", "exit 3")
    with pytest.raises(CommandFailed) as failed:
        app.run(Command("seed", ("./fail",)), {}, purpose="test", log=log)
    assert "of the attempt before" in log_message.read_message(log)
    assert log_message.read_message(log, failed.value.log_start) == ""


def test_a_build_gets_the_operators_values_for_builds_and_no_others(make_app, tmp_path):
    app = make_app(builds=(Command("build", ("./build",), stage="build"),))
    write_script(app.root, "build", 'echo "$FOR_BUILDS,$FOR_PREVIEWS"')
    app.config.env_dir.mkdir(parents=True)
    (app.config.env_dir / "build.env").write_text("FOR_BUILDS=yes\n")
    (app.config.env_dir / "worker-preview.env").write_text("FOR_PREVIEWS=yes\n")
    app.run_builds({}, purpose="preview-1", log=tmp_path / "log")
    assert (tmp_path / "log").read_text().splitlines()[-1] == "yes,"


def test_a_command_in_an_absent_folder_fails(make_app, tmp_path):
    command = Command("inner", ("true",), "absent")
    with pytest.raises(CommandFailed, match="inner cannot be started"):
        make_app().run(command, {}, purpose="test", log=tmp_path / "log")


def test_a_command_above_its_timeout_fails_as_timed_out(make_app, tmp_path):
    app = make_app()
    write_script(app.root, "hang", "exec sleep 60")
    with pytest.raises(CommandFailed, match="took too long") as failed:
        app.run(
            Command("check", ("./hang",), timeout=0.1), {}, purpose="test", log=tmp_path / "log"
        )
    assert failed.value.timed_out


def test_a_stopped_command_fails_as_stopped(make_app, tmp_path):
    app = make_app()
    write_script(app.root, "hang", "exec sleep 60")
    command = Command("check", ("./hang",))
    with pytest.raises(CommandFailed) as failed:
        app.run(command, {}, purpose="test", log=tmp_path / "log", stop=lambda: True)
    assert failed.value.was_stopped


def test_a_command_that_is_not_allowed_is_refused_before_it_starts(make_app, tmp_path):
    with pytest.raises(Refused) as refusal:
        make_app().run(Command("seed", ("perl",)), {}, purpose="test", log=tmp_path / "log")
    assert refusal.value.code == "command_refused"


def test_a_command_has_a_home_of_its_own_and_the_job_s_mark(make_app, tmp_path):
    app = make_app()
    write_script(app.root, "show", 'pwd > cwd; echo "$HOME $OROBOROS_JOB" > environment')
    app.run(Command("one", ("./show",)), {}, purpose="test", log=tmp_path / "log", job="j-1")
    home, mark = (app.root / "environment").read_text().split()
    assert mark == "j-1"
    assert home.startswith(str(app.config.var / "tmp"))
    assert not os.path.exists(home)


def test_builds_run_in_order_and_end_at_the_first_that_fails(make_app, tmp_path):
    commands = [Command(f"build {name}", (f"./{name}",)) for name in ("one", "two", "three")]
    app, log = make_app(builds=tuple(commands)), tmp_path / "log"
    write_script(app.root, "one", "echo one")
    write_script(app.root, "two", "exit 1")
    write_script(app.root, "three", "echo three")
    with pytest.raises(CommandFailed, match=r"build two \(\./two\) ended with exit code 1"):
        app.run_builds({}, purpose="build", log=log)
    assert log.read_text() == "$ ./one\none\n$ ./two\n"


def test_notes_about_the_environment_are_logged(make_app, tmp_path):
    app, log = make_app(manifest=Manifest(env_required=("API_TOKEN",))), tmp_path / "log"
    app.run(Command("check", ("true",)), {}, purpose="test", log=log)
    assert log.read_text().startswith("app.json requires API_TOKEN: set it in worker-preview.env.")


def test_a_failed_install_raises_its_reason(make_app, tmp_path):
    install = Install("node", ".", (("false",),), (), "node-false", shared=False)
    app = make_app(installs=(install,))
    with pytest.raises(CommandFailed, match="Installing the dependencies ended with exit code 1"):
        app.install(log=tmp_path / "log")
    assert not app.is_installed


def test_an_application_is_read_from_its_files(tmp_path):
    (tmp_path / "Procfile").write_text("web: python app.py\nrelease: python migrate.py\n")
    (tmp_path / "oroboros.toml").write_text('[frontend]\ndirectory = "front"\noutput = "dist"\n')
    app = read_application(config.load({}), tmp_path, None)
    assert app.plan.release.argv == ("python", "migrate.py")
    assert app.public == tmp_path / "front" / "dist"
    assert app.bins == [app.plan.installs[0].bin_folder(app.config, tmp_path)]
