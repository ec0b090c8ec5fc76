"""What a step's log says of the commands that it runs."""

import pytest

from host import config
from host.app.environment import for_database
from host.app.manifest import Manifest
from host.app.planning import Command, Plan
from runs.engine.step_context import Work
from runs.pipelines import app_commands
from runs.pipelines.app_commands import Application

URL = "postgresql://app_preview_1:p4ssw0rd@127.0.0.1:1/app_preview_1"


@pytest.fixture
def app(tmp_path):
    conf = config.load({"OROBOROS_VAR": str(tmp_path / "var"), "SECRET_KEY": "k" * 40})
    root = tmp_path / "tree"
    root.mkdir()
    (root / "release").write_text('#!/bin/sh\necho "$1" > given\n')
    (root / "release").chmod(0o755)
    return Application(conf, root, Manifest(), Plan((), (), None, None, None, ()), None)


def test_a_command_is_logged_as_it_was_written_without_the_password_filled_in(app, tmp_path):
    work = Work(app.config, tmp_path / "log", job="test")
    command = Command("release", ("./release", "$DATABASE_URL"))
    assert app_commands.run(work, app, command, for_database(URL), "preview-1").exit_code == 0
    assert (app.root / "given").read_text() == f"{URL}\n"
    assert work.log.read_text() == "$ ./release $DATABASE_URL\n"
