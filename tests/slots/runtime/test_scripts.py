"""The scripts whose answer is one JSON object, where nothing is installed."""

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
def test_a_script_says_in_json_that_nothing_is_installed_yet(name, tmp_path):
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    script = tmp_path / "scripts" / f"{name}.sh"
    done = subprocess.run([script, "list"], capture_output=True, text=True, timeout=20)
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"], said["error"]) == (1, False, "not_installed")
    assert "./scripts/quickstart.sh" in said["detail"]
    assert done.stderr == f"{said['detail']}\n"
