"""Plans: installs and their keys, commands, and the argv that is started."""

import json

import pytest

from host import config
from host.app import planning
from host.app.dependencies.install import Tools
from host.app.manifest import Check, Manifest
from host.app.planning import Command
from host.errors import Refused

TOOLS = Tools("/v/bin/uv", "/usr/bin/python3", "3.11.2", "/usr/bin/npm", "v20")


def make_plan(root, tools=TOOLS, **parts):
    return planning.make_plan(root, Manifest(**parts), tools)


def only(found):
    assert len(found) == 1
    return found[0]


def test_a_plan_has_every_command_of_the_manifest(tree):
    found = make_plan(
        tree({}),
        web=("python", "app.py"),
        release=("python", "m.py"),
        seed=("python", "s.py"),
        backend_dir="back",
        backend_build=(("python", "b.py"),),
        frontend_dir="front",
        frontend_build=(("npm", "run", "build"),),
        checks=(Check("tests", ("pytest",), 30.0, "back"),),
    )
    assert found.builds == (
        Command("build backend", ("python", "b.py"), "back", stage="build"),
        Command("build frontend", ("npm", "run", "build"), "front", stage="build"),
    )
    assert found.release == Command("release", ("python", "m.py"), "back", 600.0)
    assert found.seed == Command("seed", ("python", "s.py"), "back", 300.0)
    assert found.web == Command("web", ("python", "app.py"), "back", 0.0)
    assert found.checks == (Command("tests", ("pytest",), "back", 30.0, "check"),)


def test_a_plan_with_code_on_a_command_line_is_refused(tree):
    with pytest.raises(Refused) as refusal:
        make_plan(tree({}), checks=(Check("x", ("bash", "-c", "id")),))
    assert (refusal.value.code, refusal.value.status) == ("command_refused", 400)


@pytest.mark.parametrize("key", ["backend_install", "frontend_install"])
@pytest.mark.parametrize("argv", [("bash", "-c", "id"), ("perl", "-e", "1"), ("uv", "run", "x")])
def test_an_install_with_code_on_its_command_line_is_refused(key, argv, tree):
    with pytest.raises(Refused) as refusal:
        make_plan(tree({}), **{key: (argv,)})
    assert refusal.value.code == "command_refused"


def test_a_tree_without_dependencies_gets_an_empty_shared_venv(tree):
    install = only(make_plan(tree({"app.py": ""})).installs)
    assert (install.kind, install.shared, install.files) == ("python", True, ())
    assert only(install.commands)[1] == "venv"


def test_requirements_txt_is_installed_by_uv(tree):
    install = only(make_plan(tree({"requirements.txt": "click\n"})).installs)
    assert install.shared
    assert install.commands[1] == (
        "/v/bin/uv",
        "pip",
        "install",
        "--python",
        ".venv/bin/python",
        "-r",
        "requirements.txt",
    )


def test_the_backends_requirements_win_over_the_roots(tree):
    root = tree({"back/requirements.txt": "a\n", "requirements.txt": "b\n"})
    assert only(make_plan(root, backend_dir="back").installs).directory == "back"


def test_uv_lock_wins_over_requirements_txt(tree):
    root = tree({"uv.lock": "x", "pyproject.toml": "[project]\n", "requirements.txt": "a\n"})
    install = only(make_plan(root).installs)
    assert install.commands[1][1:3] == ("sync", "--frozen")
    assert install.commands[1][-1] == "--no-install-project"
    assert install.files == ("uv.lock", "pyproject.toml")


def key(root, tools=TOOLS, **parts):
    return only(make_plan(root, tools, **parts).installs).key


def test_the_key_depends_on_files_and_interpreter_only(tree):
    first = key(tree({"requirements.txt": "-r base.txt\n", "base.txt": "a\n"}))
    assert key(tree({"app.py": "changed"})) == first
    other_checkout = Tools("/elsewhere/uv", "/usr/bin/python3", "3.11.2", "/usr/bin/npm", "v20")
    assert key(tree({}), other_checkout) == first
    newer = Tools("/v/bin/uv", "/usr/bin/python3", "3.12.0", "/usr/bin/npm", "v20")
    assert key(tree({}), newer) != first
    assert key(tree({"base.txt": "b\n"})) != first


@pytest.mark.parametrize(
    "requirements",
    [
        "-e .\n",
        "--editable ./lib\n",
        "./wheel.whl\n",
        "../other\n",
        "/srv/lib\n",
        "file:///srv/lib\n",
        "a @ file:///srv/lib\n",
        "a @ ./lib\n",
        "a\n  -e lib\n",
        "-r ../outside.txt\n",
        "-r missing.txt\n",
        "--find-links wheels\n",
    ],
)
def test_requirements_that_name_a_path_are_installed_in_the_tree(tree, requirements):
    install = only(make_plan(tree({"requirements.txt": requirements})).installs)
    assert not install.shared


@pytest.mark.parametrize(
    "line",
    [
        "-r {}",
        "-r={}",
        " --requirement {}",
        "-c {}",
        "--constraint={}",
        "-r /{}",
        "-r sub/deep.txt",
    ],
)
def test_requirements_that_include_a_file_outside_the_tree_are_installed_in_the_tree(tree, line):
    files = {
        "requirements.txt": line.format("/etc/cron.d/x") + "\n",
        "sub/deep.txt": "-c /etc/cron.d/x\n",
        "etc/cron.d/x": "# what would be written there\n",
    }
    install = only(make_plan(tree(files)).installs)
    assert (install.shared, install.files) == (False, ())


def test_requirements_that_include_each_other_are_read_once(tree):
    root = tree({"requirements.txt": "-r a/b.txt\n", "a/b.txt": "-r ../requirements.txt\n"})
    assert only(make_plan(root).installs).files == ("requirements.txt", "a/b.txt")


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": "[project]\n[build-system]\n", "uv.lock": ""},
        {"pyproject.toml": "[project]\n[build-system]\n"},
        {"pyproject.toml": "[project]\n", "uv.lock": 'source = { editable = "lib" }\n'},
    ],
)
def test_a_local_package_is_installed_in_the_tree(tree, files):
    assert not only(make_plan(tree(files)).installs).shared


def test_install_commands_of_the_manifest_replace_the_detected_ones(tree):
    own = (("uv", "pip", "install", "-r", "requirements/dev.txt"), ("npm", "ci", "--omit=dev"))
    root = tree({"requirements.txt": "a\n", "package.json": "{}"})
    python, node = make_plan(root, backend_install=own).installs
    assert (len(python.commands), python.custom_commands) == (1, own[:1])
    assert (node.commands, node.custom_commands) == ((), own[1:])
    assert not python.shared
    assert not node.shared


def package(**parts):
    return json.dumps({"name": "x", "dependencies": {"a": "1"}, **parts})


def test_a_node_install_with_a_lock_file_is_shared(tree):
    root = tree({"front/package.json": package(), "front/package-lock.json": "{}"})
    _, node = make_plan(root, frontend_dir="front").installs
    assert (node.kind, node.directory, node.shared) == ("node", "front", True)
    assert only(node.commands)[:2] == ("/usr/bin/npm", "ci")
    assert node.files == ("package-lock.json", "package.json")


@pytest.mark.parametrize(
    ("data", "lock"),
    [
        (package(), None),
        (package(), '{"packages": {"node_modules/b": {"link": true}}}'),
        (package(), '{"packages": {"": {"dependencies": {"b": "file:../b"}}}}'),
        (package(scripts={"postinstall": "node x.js"}), "{}"),
    ],
)
def test_a_node_install_that_may_read_the_tree_is_made_in_it(tree, data, lock):
    files = {"package.json": data} | ({"package-lock.json": lock} if lock else {})
    _, node = make_plan(tree(files)).installs
    assert not node.shared


def test_a_package_json_without_dependencies_needs_no_install(tree):
    assert only(make_plan(tree({"package.json": '{"scripts": {}}'})).installs).kind == "python"


def test_prepared_argv_has_the_port_and_the_programs_path(tree, tmp_path):
    root = tree({"run": "#!/bin/sh\n"})
    (root / "run").chmod(0o755)
    command = Command("web", ("./run", "--bind=127.0.0.1:${PORT}", "$NONE"))
    argv = planning.prepare_argv(command, config.load({}), root=root, bins=[], env={"PORT": "8101"})
    assert argv == [str(root / "run"), "--bind=127.0.0.1:8101", ""]


def test_a_directory_that_leads_out_of_the_tree_is_refused(tree, tmp_path):
    root = tree({"inner/run": "#!/bin/sh\n"})
    (root / "within").symlink_to("inner")
    (root / "out").symlink_to(tmp_path)
    (root / "round").symlink_to("round")  # the start will fail, as it should

    def ready(directory):
        command = Command("web", ("true",), directory)
        return planning.prepare_argv(command, config.load({}), root=root, bins=[], env={})

    for directory in (".", "inner", "within", "round", "absent"):
        assert ready(directory) == ["/usr/bin/true"]
    for directory in ("out", "out/tree-2", "within/../.."):
        with pytest.raises(Refused, match=f"directory {directory} of web leads out") as refusal:
            ready(directory)
        assert refusal.value.code == "command_refused"


def test_code_from_a_variable_is_refused(tree):
    command = Command("web", ("sh", "$FLAG", "id"))
    with pytest.raises(Refused, match="command line"):
        planning.prepare_argv(command, config.load({}), root=tree({}), bins=[], env={"FLAG": "-c"})
