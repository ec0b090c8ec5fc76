"""Which commands of an application may be started at all; it starts none itself.

An application starts what it brings along: a file of its tree, a program its install put beside
it. Of the host's programs it gets those that WORKER_ALLOWED_COMMANDS names, from the folders of
WORKER_ALLOWED_PATHS only. No program is handed code or another program on its command line.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from host.config import Config
from host.errors import Refused

COMMANDS = "python python3 node npm uv make true false sh bash"
PATHS = "/usr/local/bin:/usr/bin:/bin"
# One-letter options that make the rest of the command line a program, or name one.
INLINE = {
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
# Long options of that kind. Many programs take any unambiguous beginning of a name, so every
# beginning is refused. (Python's is here because it takes a separate value, which would hide a -c.)
INLINE_LONG = {
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
# Programs that read their own options only before a script or module, and the one-letter options
# of theirs that take a value.
INTERPRETERS = {"python": "WX", "node": "rC", "sh": "o", "dash": "o", "bash": "oO", "zsh": "o"}
# What uv may do: install. Its other verbs start programs.
UV_VERBS = {"pip", "sync", "venv", "export", "lock"}


def check(argv: Sequence[str]) -> None:
    """Refuse a program that is handed code on its command line: `command_refused` (400)."""
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise _refused("There is no command.")
    name = _family(argv[0])
    if name == "uv" and not UV_VERBS & set(argv[1:2]):
        raise _refused("uv only installs here: name the program itself, its venv is on PATH.")
    for word in _options(name, argv[1:]):
        if _is_inline(name, word):
            raise _refused(
                f"{name} {word.partition('=')[0]} would run code from the command line: "
                "put it into a file of the tree."
            )


def resolve(
    argv: Sequence[str], config: Config, *, cwd: Path, root: Path, bins: Sequence[Path]
) -> list[str]:
    """Return `argv` with its program as an absolute path, if it may be started.

    `bins` are the folders of the application's own programs, looked through first; a name with a
    slash is a file of the tree `root`, seen from `cwd`. Raises Refused `command_refused` (400).
    """
    check(argv)
    program, rest = argv[0], list(argv[1:])
    if "/" in program:
        return [str(_file(program, config, cwd, root, bins)), *rest]
    for folder in bins:
        if _is_program(folder / program):
            return [str(folder / program), *rest]
    if program in _words(config, "WORKER_ALLOWED_COMMANDS", COMMANDS):
        for folder in _folders(config):
            if _is_program(folder / program):
                return [str(folder / program), *rest]
        raise _refused(f"The program {program} is not on this host.")
    raise _refused(
        f"The program {program} is neither installed by the application nor in "
        "WORKER_ALLOWED_COMMANDS."
    )


def _file(program: str, config: Config, cwd: Path, root: Path, bins: Sequence[Path]) -> Path:
    path = Path(os.path.normpath(cwd / program))
    # The link itself counts for the application's own programs (venv/bin/python leads out of it);
    # for a file of the tree the place counts where it leads. (`resolve` raises RuntimeError for a
    # link to itself on Python 3.11 and 3.12.)
    leads_to = Path(os.path.realpath(path))
    # A shared install's node_modules is a link of ours.
    is_own = os.path.realpath(path.parent) in {os.path.realpath(folder) for folder in bins}
    owned = is_own or leads_to.is_relative_to(root.resolve())
    allowed = path.name in _words(config, "WORKER_ALLOWED_COMMANDS", COMMANDS)
    if not owned and not (allowed and path.parent in _folders(config)):
        raise _refused(f"The program {program} is not a file of the tree.")
    if not _is_program(path):
        raise _refused(f"The file {program} is not there, or not executable.")
    return path


def _options(name: str, words: Sequence[str]) -> list[str]:
    """Return the words that the program may read as options of its own."""
    if name not in INTERPRETERS:
        own = words[: words.index("--")] if name == "npm" and "--" in words else words
        return [word for word in own if word.startswith("-")]
    found: list[str] = []
    valued = False  # may the next word be the value of the last option?
    for word in words:
        if word.startswith(("-", "+")) and word != "--":
            found.append(word)
            valued = word[-1:] in INTERPRETERS[name] or (
                name == "node" and word.startswith("--") and "=" not in word
            )
            if name == "python" and _names_module(word):
                break
        elif not valued:
            break
        else:
            valued = False
    return found


def _names_module(word: str) -> bool:
    return not word.startswith("--") and "m" in word and not set("WXc") & set(word.split("m")[0])


def _is_inline(name: str, word: str) -> bool:
    if word == "-":
        return name in INTERPRETERS
    if word.startswith("--"):
        option = word[2:].partition("=")[0]
        return bool(option) and any(full.startswith(option) for full in INLINE_LONG.get(name, ()))
    for letter in word[1:]:
        if letter in INLINE.get(name, ""):
            return True
        if letter in INTERPRETERS.get(name, "") or (name == "python" and letter == "m"):
            return False  # the rest of the word is its value
    return False


def _family(program: str) -> str:
    """Return the program's name without its version: python3.11 is a python."""
    name = Path(program).name
    return re.sub(r"[0-9.]+$", "", name) or name


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _words(config: Config, name: str, default: str) -> set[str]:
    return {word for word in re.split(r"[,\s]+", config.get(name, default)) if word}


def _folders(config: Config) -> list[Path]:
    folders = re.split(r"[:,]", config.get("WORKER_ALLOWED_PATHS", PATHS))
    return [Path(folder) for folder in folders if folder.startswith("/")]


def _refused(detail: str) -> Refused:
    return Refused("command_refused", detail, status=400)
