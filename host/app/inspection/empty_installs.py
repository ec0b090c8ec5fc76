"""Names installs of the manifest that succeeded and left no package where the application looks."""

import posixpath
from collections.abc import Iterator
from pathlib import Path

from host.app.application import Application
from host.app.dependencies import node_projects
from host.app.dependencies.install import Install

# What installs Python's packages; another command may be for another language.
PYTHON_PROGRAMS = ("uv", "pip", "pip3", "python", "python3", "poetry", "pipenv", "pdm", "hatch")
# `uv venv --seed` installs these.
SEEDS = ("pip", "setuptools", "wheel", "packaging")


def describe_empty_installs(app: Application) -> list[str]:
    """Return notes on the manifest's own install commands, once they succeeded.

    They may install elsewhere on purpose (`pip install --target lib`), so it is no failure.
    """
    return [
        f"`{command}` succeeded and left no package in {_place(install)}: "
        "what it installed elsewhere is found only where the application looks for it."
        for install in app.plan.installs
        for command in _list_commands(install)[-1:]
        if _is_empty(app, install)
    ]


def _list_commands(install: Install) -> list[str]:
    """Return the install's commands of the manifest that install packages of its language."""
    programs = {"python": PYTHON_PROGRAMS, "node": node_projects.PROGRAMS}.get(install.kind, ())
    return [" ".join(argv) for argv in install.custom_commands if argv[0] in programs]


def _place(install: Install) -> str:
    return posixpath.normpath(f"{install.directory}/{install.output_name}")


def _is_empty(app: Application, install: Install) -> bool:
    folder = install.folder(app.config, app.root) / install.output_name
    if install.kind == "python":
        found = folder.glob("lib/python*/site-packages/*.dist-info")
        return all(path.name.partition("-")[0] in SEEDS for path in found)
    # Node looks in the folders above too: a workspace installs at its root.
    return not any(map(_has_entries, _list_node_folders(app.root, folder)))


def _list_node_folders(root: Path, folder: Path) -> Iterator[Path]:
    yield folder
    for parent in folder.parent.parents:
        if parent.is_relative_to(root):
            yield parent / folder.name


def _has_entries(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
