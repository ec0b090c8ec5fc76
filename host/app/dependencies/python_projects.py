"""Plans the virtual environment of a Python project, from the lock file or list that it has."""

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from host.app.command_line import Argv
from host.app.dependencies import pipfile_lock, stale_locks
from host.app.dependencies.install import VENV, Install, Tools, build_install
from host.app.dependencies.project_files import (
    Table,
    get_table,
    get_text,
    join,
    read_json,
    read_toml,
)
from host.errors import ApplicationRefused, Refused
from host.files.source_tree import SourceTree

# What some tool installs from, and no function here does: what to do instead.
UNSUPPORTED = {
    "pdm.lock": "run `pdm export -o requirements.txt` and commit it",
    "Pipfile": "run `pipenv lock` and commit the Pipfile.lock",
    "requirements.in": "run `uv pip compile requirements.in -o requirements.txt` and commit the "
    "requirements.txt",
    "environment.yml": "list the packages in a requirements.txt",
    "environment.yaml": "list the packages in a requirements.txt",
    "conda-lock.yml": "list the packages in a requirements.txt",
    "pixi.lock": "list the packages in a requirements.txt",
    "requirements/production.txt": 'write [backend] install = "uv pip install -r '
    'requirements/production.txt" into oroboros.toml',
    "requirements/base.txt": 'write [backend] install = "uv pip install -r '
    'requirements/base.txt" into oroboros.toml',
}
# A list of another name, as projects have several: the application needs one of them.
OTHER_LIST = re.compile(
    r"requirements(?:[-_.][\w.-]+)?\.(?:txt|in|lock|pip)|pylock\.[^.]+\.toml", re.IGNORECASE
)
# Those of them that lock versions: another list in their place would install others.
OTHER_LOCK = re.compile(r"requirements.*\.lock|pylock\..*", re.IGNORECASE)
REQUIREMENTS_FOLDERS = ("requirements", "reqs")
# Lists for work on the application only.
DEVELOPMENT_LIST = re.compile(
    r"(?:^|[-_./])(?:ci|dev\w*|docs?|lint\w*|local|tests?|testing|typing)(?=[-_.])", re.IGNORECASE
)
LOCK_FILES = ("uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock", "pdm.lock")
# In the order in which they win. A lock file wins over a list of what is wanted.
PROJECT_FILES = (
    *("uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock", "requirements.txt", "pdm.lock"),
    *("Pipfile", "pyproject.toml", "setup.py", *list(UNSUPPORTED)[2:]),
)
# They say which packages are wanted, not which versions of them.
UNLOCKED = ("pyproject.toml", "setup.py")
# A project with one of these has versions that a note has to name if they are not used.
VERSIONS = ("pylock.toml", "poetry.lock", "Pipfile.lock", "requirements.txt", *UNSUPPORTED)
# Of uv: what `uv sync` installs beside the project's own dependencies, `dev` unless it is changed.
NO_GROUPS = "--no-default-groups"
# Exports poetry.lock; both are pinned, so that the same lock file gives the same install.
POETRY = ("--from", "poetry==2.2.1", "--with", "poetry-plugin-export==1.9.0", "poetry")
EXPORTED = "requirements.exported.txt"
INCLUDE_OPTION = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]+(\S+)", re.MULTILINE)
# A requirement that names a path: no key contains the files at that path.
LOCAL_REQUIREMENT = re.compile(
    r"^\s*(?:-e|--editable|--find-links|-f\b|[./~]|file:)|@\s*(?:file:|[./~])", re.MULTILINE
)
# The same in lock files. `.` is the project itself, which is not installed.
LOCAL_LOCK_SOURCE = re.compile(r"(?:editable|directory|path|virtual) = \"(?!\.\")")
LOCAL_POETRY_SOURCE = re.compile(r"^type = \"(?:directory|file)\"", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    """The commands after the environment's creation, and what a shared install is made of."""

    commands: tuple[Argv, ...]
    files: tuple[str, ...] = ()
    shared: bool = True
    stdin: str = ""


def has_python_project(tree: SourceTree, folder: str) -> bool:
    """Return whether the folder has a Python project."""
    return any(tree.has_file(f"{folder}/{name}") for name in PROJECT_FILES)


def plan_python(
    tree: SourceTree,
    folder: str,
    custom: tuple[Argv, ...],
    tools: Tools,
    *,
    is_used: bool = True,
    is_writable: bool = False,
    has_development: bool = False,
) -> tuple[Install, list[str]]:
    """Plan a virtual environment; without dependencies it is an empty, shared one.

    `custom` are the manifest's own commands, in place of the detected ones; with `is_writable` an
    install of the frontend adds to the environment, and with `has_development` it has the groups
    for development too. Returns the notes too. Raises Refused `manifest_invalid` for a project
    whose dependencies no tool here installs, if it `is_used`.
    """
    own = bool(custom) or is_writable
    # --clear: an interrupted install may have left a part of one. --no-project: no setting of the
    # tree chooses another interpreter. Only the manifest's commands may call pip (--seed).
    venv = (tools.uv, "venv", "--quiet", "--clear", "--no-project", *(["--seed"] if own else []))
    root, recipe, notes = folder, Recipe(()), list[str]()
    if not custom and (workspace := _find_workspace(tree, folder)):
        root = workspace
        recipe, notes = _use_workspace(tree, root, folder, tools, has_development)
    elif not custom:
        recipe, notes = _choose_recipe(tree, folder, tools, is_used, has_development)
    install = build_install(
        tree,
        "python",
        root,
        ((*venv, "--python", tools.python, VENV), *recipe.commands),
        version=tools.python_version,
        shared=recipe.shared and not own,
        custom=custom,
        files=recipe.files,
        stdin=recipe.stdin,
    )
    return install, notes


def _choose_recipe(
    tree: SourceTree, folder: str, tools: Tools, is_used: bool, has_development: bool
) -> tuple[Recipe, list[str]]:
    present = [name for name in PROJECT_FILES if tree.has_file(f"{folder}/{name}")]
    for name in present:
        if name in UNSUPPORTED:
            if not is_used:
                return Recipe(()), [f"{join(folder, name)} is not read here."]
            remedy = f"{UNSUPPORTED[name]}, or write [backend] install into oroboros.toml"
            raise _refuse_file(folder, name, f"is not read here: {remedy}")
        recipe = RECIPES[name](tree, folder, tools, has_development)
        if recipe is not None:
            lists = [one for one in _list_other_lists(tree, folder) if one not in recipe.files]
            locks = [one for one in lists if OTHER_LOCK.fullmatch(one)]
            if is_used and locks and name in UNLOCKED:
                raise _refuse_list(folder, locks[0])
            return recipe, _note_others(folder, name, [*present, *locks])
    if is_used and (lists := _list_other_lists(tree, folder)):
        raise _refuse_list(folder, lists[0])
    return Recipe(()), []


def _refuse_list(folder: str, name: str) -> Refused:
    usual = "pylock.toml" if name.startswith("pylock.") else "requirements.txt"
    return _refuse_file(
        folder,
        name,
        f"is not read here: name it {usual}, or write [backend] install = "
        f'"uv pip install -r {name}" into oroboros.toml',
    )


def _list_other_lists(tree: SourceTree, folder: str) -> list[str]:
    """Return the lists of requirements that have another name than `requirements.txt`.

    Those for development are left out.
    """
    found = [name for name in tree.list_files(folder) if OTHER_LIST.fullmatch(name)]
    for inner in REQUIREMENTS_FOLDERS:
        names = tree.list_files(f"{folder}/{inner}")
        found += [f"{inner}/{name}" for name in names if name.endswith((".txt", ".in"))]
    return [
        name
        for name in found
        if name not in ("requirements.txt", "requirements.in") and not DEVELOPMENT_LIST.search(name)
    ]


def _find_workspace(tree: SourceTree, folder: str) -> str:
    """Return the root of the workspace of uv that locks the folder's project; "" without one."""
    if any(tree.has_file(f"{folder}/{name}") for name in LOCK_FILES):
        return ""
    parents = [str(parent) for parent in PurePosixPath(folder).parents]
    return next((parent for parent in parents if _has_member(tree, parent, folder)), "")


def _has_member(tree: SourceTree, root: str, folder: str) -> bool:
    """Return whether the folder has a project of the workspace of uv at `root`, which is locked."""
    data = read_toml(tree, root, "pyproject.toml")
    workspace, inner = get_table(data, "tool", "uv", "workspace"), posixpath.relpath(folder, root)

    def is_listed(key: str) -> bool:
        patterns = workspace.get(key)
        patterns = patterns if isinstance(patterns, list) else []
        return any(fnmatchcase(inner, posixpath.normpath(str(one))) for one in patterns)

    is_locked = tree.has_file(f"{root}/uv.lock") and tree.has_file(f"{folder}/pyproject.toml")
    return is_locked and is_listed("members") and not is_listed("exclude")


def _use_workspace(
    tree: SourceTree, root: str, folder: str, tools: Tools, dev: bool
) -> tuple[Recipe, list[str]]:
    """Install one project of a workspace, and the others that it depends on, at the root.

    It may read any file of the tree, as those of the other projects.
    """
    project, lock = read_toml(tree, folder, "pyproject.toml"), read_toml(tree, root, "uv.lock")
    missing = stale_locks.find_missing_in_uv_lock(project, lock, posixpath.relpath(folder, root))
    _refuse_stale_lock(root, "uv.lock", missing, "`uv lock`")
    sync = (tools.uv, "sync", "--frozen", "--python", tools.python, *([] if dev else [NO_GROUPS]))
    command = (*sync, "--package", get_text(project, "project", "name"))
    others = [name for name in VERSIONS if tree.has_file(f"{folder}/{name}")]
    read = join(root, "uv.lock")
    notes = [f"{join(folder, name)} is not read: {read} is." for name in others]
    return Recipe((command,), shared=False), notes


def _refuse_file(folder: str, name: str, problem: str) -> Refused:
    path = join(folder, name)
    return ApplicationRefused("manifest_invalid", f"{path} {problem}.", fields={"file": path})


def _note_others(folder: str, chosen: str, present: Sequence[str]) -> list[str]:
    """Name the lock files and lists that are not read because another one wins."""
    others = [
        name
        for name in present[present.index(chosen) + 1 :]
        # These are what the chosen file was made of, or what it includes.
        if (name in VERSIONS or OTHER_LOCK.fullmatch(name))
        and name not in ("Pipfile", "requirements.in")
        and not name.startswith("requirements/")
    ]
    return [f"{join(folder, name)} is not read: {join(folder, chosen)} is." for name in others]


def _pip_install(tools: Tools, *words: str) -> Argv:
    return (tools.uv, "pip", "install", "--python", f"{VENV}/bin/python", *words)


def _refuse_stale_lock(folder: str, name: str, missing: Sequence[str], remedy: str) -> None:
    """Raise Refused if the lock file lacks what the project asks for: no tool would say so."""
    if missing:
        raise _refuse_file(
            folder, name, f"is out of date, it does not have {', '.join(missing)}: run {remedy}"
        )


def _use_uv_lock(tree: SourceTree, folder: str, tools: Tools, dev: bool) -> Recipe | None:
    lock = read_toml(tree, folder, "uv.lock")
    project = read_toml(tree, folder, "pyproject.toml")
    missing = stale_locks.find_missing_in_uv_lock(project, lock)
    _refuse_stale_lock(folder, "uv.lock", missing, "`uv lock`")
    shared = not _is_package(tree, folder) and not LOCAL_LOCK_SOURCE.search(
        tree.read_text(f"{folder}/uv.lock") or ""
    )
    # A shared install has no copy of the project's own files.
    options = [] if dev else [NO_GROUPS]
    options += ["--no-install-project"] if shared else []
    sync = (tools.uv, "sync", "--frozen", "--python", tools.python, *options)
    return Recipe((sync,), ("uv.lock", "pyproject.toml", ".python-version", "uv.toml"), shared)


def _use_pylock(tree: SourceTree, folder: str, tools: Tools, dev: bool) -> Recipe | None:
    text = tree.read_text(f"{folder}/pylock.toml") or ""
    shared = not re.search(r"^(?:path|directory)\b|\[packages\.directory\]", text, re.MULTILINE)
    install = _pip_install(tools, "-r", "pylock.toml")
    return Recipe((install,), ("pylock.toml", "uv.toml"), shared)


def _use_poetry_lock(tree: SourceTree, folder: str, tools: Tools, dev: bool) -> Recipe | None:
    """Export the lock file with its hashes; for development with the groups of `poetry install`."""
    lock = read_toml(tree, folder, "poetry.lock")
    if not get_text(lock, "metadata", "content-hash"):
        raise _refuse_file(folder, "poetry.lock", "has no content-hash: run `poetry lock`")
    project = read_toml(tree, folder, "pyproject.toml")
    groups = _list_poetry_groups(project) if dev else []
    export = (
        *(tools.uv, "tool", "run", "--quiet", "--python", tools.python, *POETRY),
        *("export", "--no-interaction", "--output", EXPORTED),
        *(("--with", ",".join(groups)) if groups else ()),
    )
    commands = [export, _pip_install(tools, "-r", EXPORTED)]
    shared = not LOCAL_POETRY_SOURCE.search(tree.read_text(f"{folder}/poetry.lock") or "")
    if _is_poetry_package(tree, folder, project):
        commands.append(_pip_install(tools, "--no-deps", "-e", "."))
        shared = False
    return Recipe(tuple(commands), ("poetry.lock", "pyproject.toml", "uv.toml"), shared)


def _list_poetry_groups(project: Table) -> list[str]:
    """Return the groups of dependencies that are not optional, beside the main one."""
    poetry = get_table(project, "tool", "poetry")
    tables = get_table(poetry, "group")
    names = [*tables, *get_table(project, "dependency-groups")]
    names += ["dev"] if "dev-dependencies" in poetry else []
    is_optional = {name: get_table(tables, name).get("optional") is True for name in names}
    return [name for name in dict.fromkeys(names) if not is_optional[name]]


def _is_poetry_package(tree: SourceTree, folder: str, project: Table) -> bool:
    """Return whether the project itself has to be installed: else it is imported from the tree."""
    poetry = get_table(project, "tool", "poetry")
    has_scripts = "scripts" in poetry or "scripts" in get_table(project, "project")
    has_source = bool(tree.list_folders(f"{folder}/src"))
    is_package = "build-system" in project and poetry.get("package-mode") is not False
    return is_package and (has_scripts or has_source)


def _use_pipfile_lock(tree: SourceTree, folder: str, tools: Tools, dev: bool) -> Recipe | None:
    text = pipfile_lock.to_requirements(
        tree.read_text(f"{folder}/Pipfile.lock") or "", has_development=dev
    )
    if text is None:
        raise _refuse_file(folder, "Pipfile.lock", "is not Pipenv's JSON: run `pipenv lock`")
    missing = stale_locks.find_missing_in_pipfile_lock(
        read_toml(tree, folder, "Pipfile"), read_json(tree, folder, "Pipfile.lock") or {}
    )
    _refuse_stale_lock(folder, "Pipfile.lock", missing, "`pipenv lock`")
    shared = not LOCAL_REQUIREMENT.search(text)
    return Recipe((_pip_install(tools, "-r", "-"),), ("Pipfile.lock", "uv.toml"), shared, text)


def _use_requirements(tree: SourceTree, folder: str, tools: Tools, dev: bool) -> Recipe | None:
    files = _find_requirements(tree, folder, "requirements.txt")
    install = _pip_install(tools, "-r", "requirements.txt")
    # uv reads its settings in the last two.
    return Recipe((install,), (*files, "pyproject.toml", "uv.toml"), bool(files))


def _use_pyproject(tree: SourceTree, folder: str, tools: Tools, dev: bool) -> Recipe | None:
    project = read_toml(tree, folder, "pyproject.toml")
    files = ("pyproject.toml", "uv.toml")
    if "project" in project or "poetry" in get_table(project, "tool"):
        if _is_package(tree, folder) or "project" not in project:
            return Recipe((_pip_install(tools, "-e", "."),), files, shared=False)
        return Recipe((_pip_install(tools, "-r", "pyproject.toml"),), files)
    # Its dependencies are in setup.cfg, or in flit's own table: its build tool reads them.
    is_elsewhere = tree.has_file(f"{folder}/setup.cfg") or "flit" in get_table(project, "tool")
    if "build-system" in project and is_elsewhere:
        return Recipe((_pip_install(tools, "-e", "."),), files, shared=False)
    return None


def _use_setup(tree: SourceTree, folder: str, tools: Tools, dev: bool) -> Recipe | None:
    return Recipe((_pip_install(tools, "-e", "."),), ("setup.py",), shared=False)


RECIPES = {
    "uv.lock": _use_uv_lock,
    "pylock.toml": _use_pylock,
    "poetry.lock": _use_poetry_lock,
    "Pipfile.lock": _use_pipfile_lock,
    "requirements.txt": _use_requirements,
    "pyproject.toml": _use_pyproject,
    "setup.py": _use_setup,
}


def _is_package(tree: SourceTree, folder: str) -> bool:
    return "build-system" in read_toml(tree, folder, "pyproject.toml")


def _find_requirements(tree: SourceTree, folder: str, name: str) -> tuple[str, ...]:
    """Return the file and those it includes; nothing if one of them names a path."""
    files: list[str] = []
    waiting = [name]
    while waiting:
        name = os.path.normpath(waiting.pop())
        text = tree.read_text(f"{folder}/{name}")
        if text is None or name.startswith(("..", "/")) or LOCAL_REQUIREMENT.search(text):
            return ()
        files.append(name)
        base = os.path.dirname(name)  # noqa: PTH120 — a path of the tree, not of this host
        included = [os.path.join(base, path) for path in INCLUDE_OPTION.findall(text)]  # noqa: PTH118
        waiting += [path for path in included if os.path.normpath(path) not in files]
    return tuple(files)
