"""Plans the packages of a Node project: which package manager, in which folder, from which lock."""

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from host.app.command_line import Argv
from host.app.dependencies.install import Install, Tools, build_install
from host.app.dependencies.project_files import Table, get_table, get_text, join, read_json
from host.errors import ApplicationRefused
from host.files.source_tree import LOCK_FILE_BYTES, SourceTree

PROGRAMS = ("npm", "npx", "node", "pnpm", "pnpx", "yarn", "bun", "bunx")
# The lock files, in the order in which they win if package.json names no manager.
LOCK_FILES = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "bun.lock": "bun",
    "bun.lockb": "bun",
    "npm-shrinkwrap.json": "npm",
    "package-lock.json": "npm",
}
PACKAGE_MANAGER = re.compile(r"(npm|pnpm|yarn|bun)@(\d+\.\d+\.\d+[0-9A-Za-z.-]*)(?:\+\S*)?")
# A range or a tag, which is not pinned: only the name counts.
NAMED_MANAGER = re.compile(r"(npm|pnpm|yarn|bun)(?:@.*)?")
PNPM_LOCK_VERSION = re.compile(r"^lockfileVersion: ['\"]?(\d+\.\d+)", re.MULTILINE)
# The versions for lock files whose package.json names none: pinned, so that the same files give
# the same install.
PNPM_OF_LOCK = {"9.0": "10.34.8", "6.0": "8.15.9", "6.1": "8.15.9", "5.4": "7.33.7"}
PNPM, YARN_CLASSIC, YARN, BUN = "10.34.8", "1.22.22", "4.18.1", "1.4.5"
# A line of pnpm-workspace.yaml's `packages`.
WORKSPACE_PACKAGE = re.compile(r"^\s*-\s*['\"]?([^'\"#\s]+)", re.MULTILINE)
# A package of the tree: no key contains its files. pnpm writes `link:`, yarn `workspace:`.
LOCAL_PACKAGES = re.compile(
    r"\"link\": true|\"file:|\b(?:link|file|portal|workspace):(?!\.\"|\.$)", re.MULTILINE
)
# Files that a package manager reads besides: settings, and patches are not shared.
SETTINGS = (
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    "pnpm-workspace.yaml",
    ".pnpmfile.cjs",
    "bunfig.toml",
)
SHARED_SETTINGS = (".npmrc", ".yarnrc", "bunfig.toml")
# Of npm and pnpm: what an .npmrc says so that the packages for development are not installed.
OMITS_DEVELOPMENT = re.compile(
    r"^\s*(?:omit(?:\[\])?\s*=\s*[\"']?dev\b|(?:production|prod)\s*=\s*true\b|only\s*=\s*prod)",
    re.MULTILINE,
)
PLUG_AND_PLAY = re.compile(r"^nodeLinker:\s*['\"]?pnp['\"]?\s*$", re.MULTILINE)
HOOKS = ("preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare")


@dataclass(frozen=True)
class Manager:
    """A package manager; `package` is what npm installs it from, "" for the host's npm."""

    name: str
    package: str = ""


def plan_node(
    tree: SourceTree, folders: Sequence[str], custom: tuple[Argv, ...], tools: Tools
) -> tuple[list[Install], list[str]]:
    """Plan the packages of `folders[0]`, and what other folders of its workspace need.

    `custom` are the manifest's own commands, in place of the detected ones. Returns the notes too.
    Raises Refused `manifest_invalid` for a lock file that no package manager here reads.
    """
    folder = folders[0]
    data = read_json(tree, folder, "package.json")
    if not custom and not _has_dependencies(tree, folder, data):
        return [], []
    manager, notes = _choose_manager(tree, folder, data, custom)
    tool = _plan_tool(tree, manager, tools)
    lock = _find_lock(tree, folder, manager)
    commands = () if custom else (_install_command(manager, lock, tools),)
    # A package of the tree and the package's own scripts may read any file of it.
    shared = lock is not None and not (custom or _reads_tree(tree, folder, lock, data))
    if lock is None and not custom:
        notes.append(f"{join(folder, 'package.json')} has no lock file: versions may change.")
    notes += _note_omitted(tree, folder, data)
    install = build_install(
        tree,
        "node",
        folder,
        commands,
        version=f"{tools.node_version} {manager.package}".strip(),
        shared=shared,
        custom=custom,
        files=((lock,) if lock else ()) + ("package.json", *SHARED_SETTINGS),
        packages=tuple(inner for inner in folders if inner != folder),
    )
    return [*tool, install], notes


def _note_omitted(tree: SourceTree, folder: str, data: Table | None) -> list[str]:
    """Return a note if an .npmrc leaves out packages that a build probably needs."""
    names = get_table(data, "devDependencies")
    if not names or not OMITS_DEVELOPMENT.search(tree.read_source(f"{folder}/.npmrc")):
        return []
    return [
        f"{join(folder, '.npmrc')} leaves out the devDependencies of "
        f"{join(folder, 'package.json')}: no build or check has them."
    ]


def find_install_folder(tree: SourceTree, folder: str) -> str:
    """Return the folder of the workspace that has the folder's lock file, else the folder."""
    if any(tree.has_file(f"{folder}/{name}") for name in LOCK_FILES):
        return folder
    parents = [str(parent) for parent in PurePosixPath(folder).parents]
    return next((parent for parent in parents if _has_member(tree, parent, folder)), folder)


def _has_member(tree: SourceTree, root: str, folder: str) -> bool:
    """Return whether the folder is a package of the workspace at `root`."""
    data = read_json(tree, root, "package.json")
    listed = data.get("workspaces") if data else None
    patterns = listed.get("packages") if isinstance(listed, dict) else listed
    text = tree.read_source(f"{root}/pnpm-workspace.yaml")
    patterns = WORKSPACE_PACKAGE.findall(text) or patterns
    if data is None or not isinstance(patterns, list):
        return False
    inner = str(PurePosixPath(folder).relative_to(root))
    return any(fnmatchcase(inner, posixpath.normpath(str(pattern))) for pattern in patterns)


def is_workspace(tree: SourceTree, folder: str) -> bool:
    """Return whether the folder is the root of a workspace of npm, yarn, bun or pnpm."""
    data = read_json(tree, folder, "package.json")
    return data is not None and (
        "workspaces" in data or tree.has_file(f"{folder}/pnpm-workspace.yaml")
    )


def _has_dependencies(tree: SourceTree, folder: str, data: Table | None) -> bool:
    keys = ("dependencies", "devDependencies", "optionalDependencies")
    return data is not None and (any(data.get(key) for key in keys) or is_workspace(tree, folder))


def _choose_manager(
    tree: SourceTree, folder: str, data: Table | None, custom: tuple[Argv, ...]
) -> tuple[Manager, list[str]]:
    """Return the manager that package.json names, else that of the lock file; notes on the rest."""
    present = [name for name in LOCK_FILES if tree.has_file(f"{folder}/{name}")]
    key, text = _read_manager(data)
    match = PACKAGE_MANAGER.fullmatch(text) or NAMED_MANAGER.fullmatch(text)
    called = next((argv[0] for argv in custom if argv[0] in ("pnpm", "yarn", "bun")), "")
    if match and not (present and match[1] not in {LOCK_FILES[name] for name in present}):
        name, version = match[1], "".join(match.groups()[1:])
    else:
        name, version = (LOCK_FILES[present[0]] if present else called or "npm"), ""
    manager = _pin_manager(tree, folder, name, version)
    others = [lock for lock in present if LOCK_FILES[lock] != name]
    notes = [f"{join(folder, lock)} is not read: {name} installs the packages." for lock in others]
    where = f"{join(folder, 'package.json')}: {key} {text}"
    if match and match[1] != name:
        notes.append(f"{where} is not used: there is {present[0]}.")
    elif text and not (manager.package and version):
        used = manager.package or "npm of this host"
        notes.append(f"{where} is not used: {used} installs the packages.")
    return manager, [*notes, *_note_settings(tree, folder, data, manager)]


def _read_manager(data: Table | None) -> tuple[str, str]:
    """Return the key of package.json that names a manager, and its name and version."""
    if text := get_text(data, "packageManager"):
        return "packageManager", text
    engine = get_table(data, "devEngines", "packageManager")
    name, version = get_text(engine, "name"), get_text(engine, "version")
    return "devEngines.packageManager", f"{name}@{version}" if name and version else name


def _note_settings(
    tree: SourceTree, folder: str, data: Table | None, manager: Manager
) -> Iterator[str]:
    """Yield a note on each other pin of the manager, and on yarn's packages without a folder."""
    pinned = get_text(data, "volta", manager.name)
    if pinned and not manager.package.endswith(f"@{pinned}"):
        used = manager.package or "npm of this host"
        yield (
            f"{join(folder, 'package.json')}: volta.{manager.name} {pinned} is not used: {used} "
            "installs the packages."
        )
    if manager.name == "yarn" and PLUG_AND_PLAY.search(tree.read_source(f"{folder}/.yarnrc.yml")):
        yield (
            f"{join(folder, '.yarnrc.yml')}: nodeLinker pnp is not used: the packages are in "
            "node_modules."
        )


def _pin_manager(tree: SourceTree, folder: str, name: str, version: str) -> Manager:
    """Return the manager in the version that package.json names, else that the lock file needs."""
    if name == "npm":
        return Manager(name)
    if name == "bun":
        return Manager(name, f"bun@{version or BUN}")
    if name == "pnpm":
        return Manager(name, f"pnpm@{version or _pnpm_version(tree, folder)}")
    is_berry = "__metadata:" in tree.read_source(f"{folder}/yarn.lock")
    version = version or (YARN if is_berry else YARN_CLASSIC)
    package = "yarn" if version.startswith(("0.", "1.")) else "@yarnpkg/cli-dist"
    return Manager(name, f"{package}@{version}")


def _pnpm_version(tree: SourceTree, folder: str) -> str:
    if not tree.has_file(f"{folder}/pnpm-lock.yaml"):
        return PNPM
    match = PNPM_LOCK_VERSION.search(tree.read_source(f"{folder}/pnpm-lock.yaml"))
    if match is None or match[1] not in PNPM_OF_LOCK:
        where = join(folder, "pnpm-lock.yaml")
        detail = (
            f"{where} has a lockfileVersion for which no pnpm is known here: add "
            f'"packageManager": "pnpm@<version>" to {join(folder, "package.json")}.'
        )
        raise ApplicationRefused("manifest_invalid", detail, fields={"file": where})
    return PNPM_OF_LOCK[match[1]]


def _plan_tool(tree: SourceTree, manager: Manager, tools: Tools) -> list[Install]:
    """Return the shared install of a package manager that is not the host's own."""
    if not manager.package:
        return []
    options = ("--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", "--save-exact")
    command = (tools.npm, "install", *options, manager.package)
    return [build_install(tree, "tool", ".", (command,), version=tools.node_version, shared=True)]


def _find_lock(tree: SourceTree, folder: str, manager: Manager) -> str | None:
    names = [name for name, owner in LOCK_FILES.items() if owner == manager.name]
    return next((name for name in names if tree.has_file(f"{folder}/{name}")), None)


def _install_command(manager: Manager, lock: str | None, tools: Tools) -> Argv:
    if manager.name == "npm":
        # Audit and funding messages cost requests to the registry, and fill the log.
        quiet = ("--no-audit", "--no-fund", "--loglevel=error")
        return (tools.npm, *(("ci",) if lock else ("install", "--no-package-lock")), *quiet)
    if manager.package.startswith("@yarnpkg/"):
        # Without a word it is immutable where CI is set.
        return ("yarn", "install", "--immutable" if lock else "--no-immutable")
    return (manager.name, "install", *(("--frozen-lockfile",) if lock else ()))


def _reads_tree(tree: SourceTree, folder: str, lock: str, data: Table | None) -> bool:
    """Return whether the install may read more of the tree than the files of its key."""
    content = tree.read_bytes(f"{folder}/{lock}", LOCK_FILE_BYTES) or b""
    text = content.decode(errors="replace")
    settings = [name for name in SETTINGS if name not in SHARED_SETTINGS]
    return (
        bool(LOCAL_PACKAGES.search(text))
        or bool(set(HOOKS) & set(get_table(data, "scripts")))
        or "patchedDependencies" in text
        or any(tree.has_file(f"{folder}/{name}") for name in settings)
        or is_workspace(tree, folder)
    )
