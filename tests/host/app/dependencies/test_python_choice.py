"""Which of the host's interpreters an application gets."""

import pytest

from host.app import planning
from host.app.dependencies import interpreters
from host.app.dependencies.install import Tools
from host.app.manifest import Manifest
from host.errors import Refused
from host.files.source_tree import SourceTree

OWN = Tools("/v/uv", "/own/python", "/own/python Python 3.11.2 (main)", "/usr/bin/npm", "v22")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with interpreters of several versions, of which one does not start."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for version in ("3.9.20", "3.10.4", "3.12.9", "3.13.1"):
        path = folder / f"python{version.rpartition('.')[0]}"
        path.write_text(f"#!/bin/sh\necho 'Python {version} (main)'\n")
        path.chmod(0o755)
    (folder / "python3.14").write_text("#!/no/such/program\n")
    (folder / "python3.14").chmod(0o755)
    monkeypatch.setattr(interpreters, "PYTHON_FOLDERS", (str(folder),))
    return folder


def choose(tmp_path, **files):
    tree = tmp_path / "tree"
    tree.mkdir(exist_ok=True)
    for name, text in files.items():
        (tree / name.replace("__", ".")).write_text(text)
    return interpreters.choose_python(SourceTree(tree), ["."], OWN)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({}, "/own/python"),
        ({"__python-version": "3.11.7"}, "/own/python"),
        ({"__python-version": "3.12"}, "python3.12"),
        ({"runtime__txt": "python-3.10.13"}, "python3.10"),
        ({"pyproject__toml": '[project]\nrequires-python = ">=3.12"\n'}, "python3.13"),
        ({"pyproject__toml": '[project]\nrequires-python = ">=3.12,<3.13"\n'}, "python3.12"),
        ({"pyproject__toml": '[project]\nrequires-python = "<3.11"\n'}, "python3.10"),
        ({"__python-version": "3.7"}, "/own/python"),
        ({"__python-version": "3.14"}, "/own/python"),
    ],
)
def test_an_application_gets_the_newest_python_that_its_files_ask_for(
    folder, tmp_path, files, name
):
    found = choose(tmp_path, **files)
    assert found.python.endswith(name)
    assert found.python_version.startswith(found.python)


def test_the_virtual_environment_is_made_by_it_and_has_a_key_of_its_own(folder, tmp_path):
    keys = set()
    for version in ("3.12", "3.11"):
        choose(tmp_path, requirements__txt="flask\n", **{"__python-version": version})
        plan = planning.make_plan(tmp_path / "tree", Manifest(web=("flask", "run")), OWN)
        [install] = plan.installs
        keys.add(install.key)
        python = str(folder / "python3.12") if version == "3.12" else "/own/python"
        assert python in install.commands[0]
    assert len(keys) == 2


def test_a_version_that_the_host_lacks_is_refused_with_the_folders_that_are_searched(
    folder, tmp_path
):
    choose(tmp_path, requirements__txt="flask\n", **{"__python-version": "3.8"})
    with pytest.raises(Refused, match=rf"asks for Python 3\.8, .* in one of {folder}"):
        planning.make_plan(tmp_path / "tree", Manifest(web=("flask", "run")), OWN)
