"""Lock files of other tools, installed for real: what they say is what is there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from host.app import command_policy, installs
from host.app.dependencies.interpreters import NODE_WHEELS
from host.app.inspection.empty_installs import describe_empty_installs

pytestmark = pytest.mark.full
UV = str(Path(sys.executable).with_name("uv"))
POETRY = {
    "Procfile": "web: python app.py\n",
    "pyproject.toml": """\
[tool.poetry]
name = "x"
version = "0"
description = ""
authors = []
package-mode = false
[tool.poetry.dependencies]
python = ">=3.10"
idna = "^3.4"
[tool.poetry.group.dev.dependencies]
iniconfig = "2.0.0"
[tool.poetry.group.docs]
optional = true
[tool.poetry.group.docs.dependencies]
tomli = "2.0.1"
""",
}
PACKAGE = {"name": "x", "version": "1.0.0", "dependencies": {"is-odd": "3.0.0"}}
TOML = '[frontend]\noutput = "dist"\n'


def run(project, *argv):
    """Run a generator in the tree as a developer would."""
    done = subprocess.run(argv, cwd=project.root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def npm_exec(project, package, *argv):
    run(project, "npm", "exec", "--yes", f"--package={package}", "--", *argv)


def loosen(project, *names):
    """Have package.json accept a newer version than the lock file has."""
    for name in names:
        path = project.root / name
        path.write_text(path.read_text().replace('"is-odd": "3.0.0"', '"is-odd": "^3.0.0"'))


def installed_version(app, name="is-odd"):
    [install] = [one for one in app.plan.installs if one.kind == "node"]
    folder = install.folder(app.config, app.root) / "node_modules" / name
    return json.loads((folder / "package.json").read_text())["version"]


def python_packages(app):
    python = app.plan.installs[0].folder(app.config, app.root) / ".venv"
    return {path.name for path in python.glob("lib/python3*/site-packages/*.dist-info")}


def poetry_package(name, version, group):
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\ndescription = ""\n'
        f'optional = false\npython-versions = "*"\ngroups = ["{group}"]\nfiles = []\n'
    )


def test_a_poetry_lock_is_installed_with_its_groups(project):
    project.write(**POETRY)
    code = (
        "from poetry.factory import Factory; "
        "print(Factory().create_poetry().locker._get_content_hash())"
    )
    argv = (UV, "tool", "run", "--from", "poetry==2.2.1", "python", "-c", code)
    content_hash = subprocess.check_output(argv, cwd=project.root, text=True).strip()
    lock = [
        poetry_package("idna", "3.7", "main"),
        poetry_package("iniconfig", "2.0.0", "dev"),
        poetry_package("tomli", "2.0.1", "docs"),
        '[metadata]\nlock-version = "2.1"\npython-versions = ">=3.10"',
        f'content-hash = "{content_hash}"',
    ]
    project.write(**{"poetry.lock": "\n".join(lock)})
    app = project.install(has_development=True)
    assert {"idna-3.7.dist-info", "iniconfig-2.0.0.dist-info"} <= python_packages(app)
    assert "tomli-2.0.1.dist-info" not in python_packages(app)
    assert app.plan.installs[0].shared
    released = python_packages(project.install())
    assert "idna-3.7.dist-info" in released and "iniconfig-2.0.0.dist-info" not in released


def test_a_pipfile_lock_is_installed(project):
    lock = {"default": {"idna": {"version": "==3.7"}}, "develop": {"six": {"version": "==1.16.0"}}}
    project.write(**{"Procfile": "web: python app.py\n", "Pipfile.lock": json.dumps(lock)})
    checked = python_packages(project.install(has_development=True))
    assert {"idna-3.7.dist-info", "six-1.16.0.dist-info"} <= checked
    released = python_packages(project.install())
    assert "idna-3.7.dist-info" in released and "six-1.16.0.dist-info" not in released


def test_a_pylock_is_installed(project):
    project.write(**{"Procfile": "web: python app.py\n", "requirements.in": "idna==3.7\n"})
    compile_it = ("pip", "compile", "-q", "requirements.in", "--format", "pylock.toml")
    python = os.path.realpath(sys.executable)
    run(project, UV, *compile_it, "--python", python, "-o", "pylock.toml")
    assert "idna-3.7.dist-info" in python_packages(project.install())


@pytest.mark.parametrize(
    ("package", "lock", "argv", "version"),
    [
        ("pnpm@9.15.9", "pnpm-lock.yaml", ("pnpm", "install", "--lockfile-only"), "9.15.9"),
        ("pnpm@8.15.9", "pnpm-lock.yaml", ("pnpm", "install", "--lockfile-only"), None),
        ("yarn@1.22.22", "yarn.lock", ("yarn", "install", "--ignore-scripts"), None),
        ("@yarnpkg/cli-dist@4.18.1", "yarn.lock", ("yarn", "install"), "4.18.1"),
        ("bun@1.4.5", "bun.lock", ("bun", "install", "--lockfile-only"), None),
    ],
    ids=["pnpm", "pnpm of the lock file", "yarn", "yarn 4", "bun"],
)
def test_a_lock_file_is_installed_by_its_package_manager(project, package, lock, argv, version):
    name = argv[0]
    manager = {"packageManager": f"{name}@{version}"} if version else {}
    project.write(**{"package.json": json.dumps(PACKAGE | manager), "oroboros.toml": TOML})
    npm_exec(project, package, *argv)
    # A range, of which the lock file has not the newest; yarn 4 does not let us edit its own.
    if version != "4.18.1":
        loosen(project, "package.json", lock)
    if package == "yarn@1.22.22":
        path = project.root / lock
        path.write_text(path.read_text().replace("is-odd@3.0.0:", "is-odd@^3.0.0:"))
    if lock == "pnpm-lock.yaml":
        path = project.root / lock
        path.write_text(path.read_text().replace("specifier: 3.0.0", "specifier: ^3.0.0"))
    installs.ownership.delete_tree(project.root / "node_modules")
    app = project.install()
    assert installed_version(app) == "3.0.0"
    assert any((folder / name).exists() for folder in app.bins)


def test_a_workspace_of_npm_is_installed_at_its_root(project):
    project.write(
        **{
            "package.json": json.dumps({"private": True, "workspaces": ["apps/*", "packages/*"]}),
            "packages/ui/package.json": json.dumps({"name": "@x/ui", "version": "1.0.0"}),
            "apps/web/package.json": json.dumps(
                {
                    "name": "web",
                    "version": "1.0.0",
                    "dependencies": {"@x/ui": "*", "is-odd": "3.0.0"},
                }
            ),
            "oroboros.toml": '[frontend]\ndirectory = "apps/web"\noutput = "dist"\n',
        }
    )
    run(project, "npm", "install", "--package-lock-only")
    app = project.install()
    assert installed_version(app) == "3.0.0"
    assert (project.root / "node_modules" / "@x" / "ui").is_symlink()


def test_a_workspace_of_pnpm_is_installed_at_its_root(project):
    web = {"name": "web", "dependencies": {"@x/ui": "workspace:*", "is-odd": "3.0.0"}}
    project.write(
        **{
            "package.json": json.dumps({"private": True, "packageManager": "pnpm@10.34.8"}),
            "pnpm-workspace.yaml": "packages:\n  - 'apps/*'\n  - 'packages/*'\n",
            "packages/ui/package.json": json.dumps({"name": "@x/ui", "version": "1.0.0"}),
            "apps/web/package.json": json.dumps(web),
            "oroboros.toml": '[frontend]\ndirectory = "apps/web"\noutput = "dist"\n',
        }
    )
    npm_exec(project, "pnpm@10.34.8", "pnpm", "install", "--lockfile-only")
    project.install()
    modules = project.root / "apps" / "web" / "node_modules"
    assert (modules / "@x" / "ui" / "package.json").exists()
    assert json.loads((modules / "is-odd" / "package.json").read_text())["version"] == "3.0.0"


def test_the_frontends_own_install_runs_in_its_folder_and_leaves_python_alone(project):
    project.write(
        **{
            "Procfile": "web: python app.py\n",
            "requirements.txt": "idna==3.7\n",
            "front/package.json": json.dumps(PACKAGE),
            "oroboros.toml": '[frontend]\ndirectory = "front"\noutput = "dist"\n'
            'install = "pnpm install"\n',
        }
    )
    app = project.install()
    assert "idna-3.7.dist-info" in python_packages(app)
    assert installed_version(app) == "3.0.0"
    assert (project.root / "front" / "node_modules" / "is-odd").exists()


def write_uv_workspace(project, toml=""):
    """Write and lock a workspace of uv whose backend depends on a package of it."""
    project.write(
        **{
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["backend", "libs/*"]\n',
            "backend/pyproject.toml": '[project]\nname = "api"\nversion = "1"\n'
            'requires-python = ">=3.11"\ndependencies = ["idna==3.7", "shared"]\n'
            "[tool.uv.sources]\nshared = { workspace = true }\n",
            "libs/shared/pyproject.toml": '[project]\nname = "shared"\nversion = "1"\n'
            'requires-python = ">=3.11"\n[build-system]\nrequires = ["uv_build"]\n'
            'build-backend = "uv_build"\n',
            "libs/shared/src/shared/__init__.py": "",
            "Procfile": "web: python app.py\n",
            "oroboros.toml": f'[backend]\ndirectory = "backend"\n{toml}',
        }
    )
    run(project, UV, "lock")


def test_a_workspace_of_uv_is_installed_at_its_root(project):
    write_uv_workspace(project)
    app = project.install()
    assert {"idna-3.7.dist-info", "shared-1.dist-info"} <= python_packages(app)
    assert (project.root / ".venv").is_dir()


def test_uv_in_a_project_of_a_workspace_installs_where_the_application_looks(project):
    write_uv_workspace(project, 'install = "uv sync --frozen"\n')
    app = project.install()
    assert app.plan.installs[0].directory == "backend"
    assert {"idna-3.7.dist-info", "shared-1.dist-info"} <= python_packages(app)
    assert describe_empty_installs(app) == []


def test_packages_that_were_installed_elsewhere_are_noted(project):
    toml = '[backend]\ninstall = "pip install --quiet --target lib idna==3.7"\n'
    project.write(**{"Procfile": "web: python app.py\n", "oroboros.toml": toml})
    [note] = describe_empty_installs(project.install())
    assert "left no package in .venv:" in note
    assert (project.root / "lib" / "idna").is_dir()


def test_the_node_that_an_application_asks_for_runs_npm_and_its_scripts(project):
    host_node = subprocess.check_output(["node", "--version"], text=True)
    version = next(one for one in NODE_WHEELS if not host_node.startswith(f"v{one[:2]}."))
    script = "node -p process.version > node_modules/of-script"
    package = {**PACKAGE, "scripts": {"postinstall": script}}
    project.write(**{"package.json": json.dumps(package), ".nvmrc": version, "oroboros.toml": TOML})
    app = project.install()
    assert installed_version(app) == "3.0.0"
    modules = project.root / "node_modules"
    assert (modules / "of-script").read_text().strip() == f"v{version}"
    [node, npm] = [
        command_policy.resolve_program(
            [name, "--version"], app.config, cwd=project.root, root=project.root, bins=app.bins
        )
        for name in ("node", "npm")
    ]
    env = {"PATH": f"{Path(node[0]).parent}:/usr/bin:/bin", "HOME": str(project.root)}
    assert subprocess.check_output(node, text=True).strip() == f"v{version}"
    assert subprocess.check_output(npm, env=env, text=True)[0].isdigit()
