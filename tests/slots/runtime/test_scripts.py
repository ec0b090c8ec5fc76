"""The scripts with a JSON answer, in a checkout where nothing is installed."""

import json
import shutil
import subprocess

import pytest

from host import config as configuration

SCRIPTS = configuration.HOME / "scripts"


@pytest.mark.parametrize(
    "name",
    [
        "preview-backend-runtime",
        "preview-slot-migrate",
        "preview-db-reset",
        "rollback",
        "release-registry",
        "deploy",
    ],
)
def test_script_without_an_installation_answers_not_installed(name, tmp_path):
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    script = tmp_path / "scripts" / f"{name}.sh"
    done = subprocess.run([script, "list"], capture_output=True, text=True, timeout=20)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], answer["error"]) == (1, False, "not_installed")
    assert "./scripts/quickstart.sh" in answer["detail"]
    assert done.stderr == f"{answer['detail']}\n"
