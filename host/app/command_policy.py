"""Decides which commands of an application may be started, and starts none.

An application may start its own programs: files of its tree, and programs of its installs.
Of the host's programs it may start those that WORKER_ALLOWED_COMMANDS names, from the folders of
WORKER_ALLOWED_PATHS. A command line may not contain code, or another program to run.
"""

import codecs
import os
import re
from collections.abc import Sequence
from pathlib import Path

from host.app import command_line
from host.app.command_line import Argv, CommandLineInvalid
from host.config import Config
from host.errors import ApplicationRefused, Refused

DEFAULT_COMMANDS = "python python3 node npm uv make true false sh bash ruby bundle php composer go"
DEFAULT_PATHS = "/usr/local/bin:/usr/bin:/bin"
# One-letter options whose value is code, or a program to run.
INLINE_CODE_OPTIONS = {
    "sh": "cs",
    "bash": "cs",
    "dash": "cs",
    "zsh": "cs",
    "python": "c",
    "node": "epi",
    "npm": "c",
    "npx": "c",
    "perl": "eE",
    "ruby": "e",
    "php": "rBRE",
    "git": "c",
    "tar": "IF",
}
# Long options of that kind. GNU getopt and others accept any unambiguous prefix of a name, so every
# prefix is refused. (Python's is here because it takes a separate value, which would hide a -c.)
INLINE_CODE_LONG_OPTIONS = {
    "node": ("eval", "print", "import"),
    "npm": ("call", "script-shell", "node-options"),
    "npx": ("call", "script-shell", "node-options"),
    "git": ("exec-path", "config-env", "upload-pack", "receive-pack", "exec", "config"),
    "tar": (
        "to-command",
        "use-compress-program",
        "checkpoint-action",
        "rsh-command",
        "info-script",
        "new-volume-script",
    ),
    "bash": ("rcfile", "init-file"),
    "make": ("eval",),
    "python": ("check-hash-based-pycs",),
}
# Programs that read their own options only before a script or module, and their one-letter options
# that take a value: the next word is then no script.
INTERPRETERS = {
    "python": "WX",
    "ruby": "ICEFr",
    "node": "rC",
    "sh": "o",
    "dash": "o",
    "bash": "oO",
    "zsh": "o",
}
# The commands of uv that install. Its others (run, tool, python, …) start or fetch programs.
UV_COMMANDS = {"pip", "sync", "venv", "export", "lock"}


def parse_command(value: object) -> Argv:
    """Return the argv of a manifest's command: a line, or a list of its words.

    Raises CommandLineInvalid if it is none, Refused `command_refused` as `check_command`.
    """
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        argv = command_line.check_argv(value)
    elif isinstance(value, str):
        argv = command_line.parse_command_line(value)
    else:
        raise CommandLineInvalid("give a command as one string, or as a list of its words")
    check_command(argv)
    return argv


def check_command(argv: Sequence[str]) -> None:
    """Raise Refused `command_refused` (400) if the command line contains code to run."""
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise _refused("There is no command.")
    name = _strip_version(argv[0])
    if name == "uv" and not UV_COMMANDS & set(argv[1:2]):
        raise _refused("uv only installs here: name the program itself, its venv is on PATH.")
    if (name, *argv[1:2]) == ("bundle", "exec"):
        check_command(argv[2:])
    for word in _options(name, argv[1:]):
        if _has_inline_code(name, word):
            raise _refused(
                f"{name} {word.partition('=')[0]} would run code from the command line: "
                "put it into a file of the tree."
            )


def resolve_program(
    argv: Sequence[str], config: Config, *, cwd: Path, root: Path, bins: Sequence[Path]
) -> list[str]:
    """Return `argv` with its program as an absolute path.

    A name is looked up in `bins`, the folders of the application's own programs, then in the
    host's; a name with a slash is a file of the tree `root`, relative to `cwd`. Raises Refused
    `command_refused` (400) if the program may not be started.
    """
    check_command(argv)
    program, rest = argv[0], list(argv[1:])
    if "/" in program:
        return [str(_resolve_file(program, config, cwd, root, bins)), *rest]
    for folder in bins:
        if _is_executable(folder / program):
            return [str(folder / program), *rest]
    if program in _words(config, "WORKER_ALLOWED_COMMANDS", DEFAULT_COMMANDS):
        for folder in _allowed_folders(config):
            if _is_executable(folder / program):
                return [str(folder / program), *rest]
        raise _refused(f"The program {program} is not on this host.")
    if program == "env":
        raise _refused(
            "The program env is not needed: set the variables under [env] in oroboros.toml, and "
            "name the program itself."
        )
    raise _refused(
        f"The program {program} is neither installed by the application nor in "
        "WORKER_ALLOWED_COMMANDS."
    )


def _resolve_file(
    program: str, config: Config, cwd: Path, root: Path, bins: Sequence[Path]
) -> Path:
    path = Path(os.path.normpath(cwd / program))
    # A program of an install counts by its link (venv/bin/python is a link to the host's Python), a
    # file of the tree by the link's target. (`Path.resolve` raises RuntimeError for a link to
    # itself on Python 3.11 and 3.12; realpath does not.)
    target = Path(os.path.realpath(path))
    # A folder on the path to the installs may be a link, hence realpath on both sides.
    is_installed = os.path.realpath(path.parent) in {os.path.realpath(folder) for folder in bins}
    is_own = is_installed or target.is_relative_to(root.resolve())
    is_allowed = path.name in _words(config, "WORKER_ALLOWED_COMMANDS", DEFAULT_COMMANDS)
    if not is_own and not (is_allowed and path.parent in _allowed_folders(config)):
        raise _refused(f"The program {program} is not a file of the tree.")
    _check_file(program, path, os.path.relpath(path, root))
    return path


def _check_file(program: str, path: Path, name: str) -> None:
    """Raise Refused `command_refused` if the system could not start the file; it says why.

    `name` is its path in the repository.
    """
    if not path.is_file():
        raise _refused(f"The file {program} does not exist.")
    if not os.access(path, os.X_OK):
        raise _refused(
            f"The file {program} is not executable: run git update-index --chmod=+x {name}, "
            "then commit and push."
        )
    first_line = _read_first_line(path)
    if first_line.startswith(codecs.BOM_UTF8 + b"#!"):
        raise _refused(f"The file {program} begins with a byte order mark: save it without one.")
    # The system would look for an interpreter whose name ends in a carriage return.
    if first_line.startswith(b"#!") and first_line.endswith(b"\r\n"):
        raise _refused(
            f"The lines of the file {program} end in CR LF: write LF, and keep it so with "
            f"`{name} text eol=lf` in .gitattributes."
        )


def _read_first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline(256)
    except OSError:  # made by a build, for its own user only
        return b""


def _options(name: str, words: Sequence[str]) -> list[str]:
    """Return the words that the program may read as its own options."""
    if name not in INTERPRETERS:
        own = words[: words.index("--")] if name == "npm" and "--" in words else words
        return [word for word in own if word.startswith("-")]
    options: list[str] = []
    takes_value = False  # whether the next word may be the value of the last option
    for word in words:
        if word.startswith(("-", "+")) and word != "--":
            options.append(word)
            takes_value = word[-1:] in INTERPRETERS[name] or (
                name == "node" and word.startswith("--") and "=" not in word
            )
            if name == "python" and _names_module(word):
                break
        elif not takes_value:
            break
        else:
            takes_value = False
    return options


def _names_module(word: str) -> bool:
    return not word.startswith("--") and "m" in word and not set("WXc") & set(word.split("m")[0])


def _has_inline_code(name: str, word: str) -> bool:
    """Return whether an option of the program runs code from the command line or from stdin."""
    if word == "-":
        return name in INTERPRETERS
    if word.startswith("--"):
        option = word[2:].partition("=")[0]
        return bool(option) and any(
            full.startswith(option) for full in INLINE_CODE_LONG_OPTIONS.get(name, ())
        )
    for letter in word[1:]:
        if letter in INLINE_CODE_OPTIONS.get(name, ""):
            return True
        if letter in INTERPRETERS.get(name, "") or (name == "python" and letter == "m"):
            return False  # the rest of the word is its value
    return False


def _strip_version(program: str) -> str:
    """Return the program's name without a version: `python` for /usr/bin/python3.11."""
    name = Path(program).name
    return re.sub(r"[0-9.]+$", "", name) or name


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _words(config: Config, name: str, default: str) -> set[str]:
    return {word for word in re.split(r"[,\s]+", config.get(name, default)) if word}


def _allowed_folders(config: Config) -> list[Path]:
    folders = re.split(r"[:,]", config.get("WORKER_ALLOWED_PATHS", DEFAULT_PATHS))
    return [Path(folder) for folder in folders if folder.startswith("/")]


def _refused(detail: str) -> Refused:
    return ApplicationRefused("command_refused", detail)
