"""Notes on installs of the manifest that left nothing where the application looks."""

import pytest

from host import config
from host.app import application
from host.app.inspection.empty_installs import describe_empty_installs
from tests.host.app.trees import write_tree

PACKAGE = "backend/.venv/lib/python3.11/site-packages/idna-3.7.dist-info/METADATA"
SEED = "backend/.venv/lib/python3.11/site-packages/pip-25.0.dist-info/METADATA"
NODE = {"package.json": {"name": "x"}, "front/package.json": {"name": "y"}}


@pytest.fixture
def describe(tmp_path):
    """Return a function that describes a tree with these files, whose installs have been made."""

    def make(files):
        root = tmp_path / "tree"
        write_tree(root, {"Procfile": "web: python app.py\n", "backend/app.py": "", **files})
        loaded = config.load({"OROBOROS_VAR": str(tmp_path / "var")})
        return describe_empty_installs(application.read_application(loaded, root, None))

    return make


def backend(install):
    return {"oroboros.toml": f'[backend]\ndirectory = "backend"\ninstall = "{install}"\n'}


def frontend(install):
    return NODE | {
        "oroboros.toml": f'[frontend]\ndirectory = "front"\noutput = "."\ninstall = "{install}"\n'
    }


@pytest.mark.parametrize(
    ("files", "place"),
    [
        (backend("pip install --target lib idna") | {SEED: ""}, "backend/.venv"),
        (backend("poetry install") | {SEED: ""}, "backend/.venv"),
        (frontend("npm ci --prefix elsewhere"), "front/node_modules"),
    ],
)
def test_an_install_that_left_no_package_where_the_application_looks_is_named(
    describe, files, place
):
    [note] = describe(files)
    command = files["oroboros.toml"].rpartition('install = "')[2].strip().strip('"')
    assert note.startswith(f"`{command}` succeeded and left no package in {place}:")


@pytest.mark.parametrize(
    "files",
    [
        backend("uv sync") | {SEED: "", PACKAGE: ""},
        # It may be another language's.
        backend("make dependencies") | {SEED: ""},
        {"requirements.txt": ""},
        frontend("npm ci") | {"front/node_modules/is-odd/package.json": "{}"},
        # Hoisted, as in a workspace: node looks there too.
        frontend("npm ci") | {"node_modules/is-odd/package.json": "{}"},
    ],
)
def test_other_installs_have_no_note(describe, files):
    assert describe(files) == []
