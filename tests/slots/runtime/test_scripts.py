"""The scripts with a JSON answer, in a checkout where nothing is installed."""

import json
import os
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
    done = subprocess.run([script, "list"], capture_output=True, text=True, timeout=120)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], answer["error"]) == (1, False, "not_installed")
    assert "./scripts/quickstart.sh" in answer["detail"]
    assert done.stderr == f"{answer['detail']}\n"


@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS.glob("*.sh")))
def test_a_shells_settings_lead_no_script_to_another_folder(name, tmp_path):
    """Of bash: CDPATH counts for `cd scripts/..`; of Python: PYTHONSAFEPATH hides our modules."""
    (tmp_path / "elsewhere/scripts").mkdir(parents=True)
    text = (SCRIPTS / name).read_text()
    before, found, _ = text.partition('cd "$(dirname "$0")/.."\n')
    if not found:  # it is read by the others, which have changed the folder
        return
    script = tmp_path / "here/scripts/a.sh"
    script.parent.mkdir(parents=True)
    script.write_text(f'{before}{found}pwd; echo "${{PYTHONSAFEPATH:-unset}}"\n')
    env = {"PATH": os.environ["PATH"], "CDPATH": f"{tmp_path}/elsewhere", "PYTHONSAFEPATH": "1"}
    argv = ["bash", "scripts/a.sh"]
    done = subprocess.run(argv, cwd=tmp_path / "here", env=env, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path}/here\nunset\n"
