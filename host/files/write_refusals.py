"""Explains why an application could not write: its tree is read-only. Pure functions."""

import re
from pathlib import Path

# Of Python, Node and the C library; of SQLite, which names no path.
REFUSED = re.compile(r"permission denied|read-only file system|EACCES|EROFS", re.I)
SQLITE = re.compile(r"attempt to write a readonly database|unable to open database file", re.I)
QUOTED = re.compile(r"""['"‘]([^'"‘’\n]{1,300})['"’]""")
# Names of errors, and messages that Rust quotes.
NO_PATH = re.compile(r"E[A-Z]{3,}|permission denied|read-only file system.*", re.I)
UNQUOTED = (
    # A word with a dot or a slash: `open data/a.log: permission denied` of a shell or of Go.
    re.compile(r"(\S*[./]\S*):\s*(?:permission|read-only)", re.I),
    # Ruby, PHP, Java.
    re.compile(r"@ \w+ - (\S+)"),
    re.compile(r"\(([^()\s]+)\): failed to open stream", re.I),
    re.compile(r"(\S+) \((?:permission denied|read-only)", re.I),
)
PLACES = 'see docs/reference/manifest.md, "Where an application may write"'
ADVICE = (
    "An application may not write beside its code: its files are read-only in previews as they are"
    f" in production. It may write to $HOME, $TMPDIR, /tmp and its database: {PLACES}."
)
ADVICE_ELSEWHERE = (
    "It is not beside the application's code: another user owns it, or its mode or that of its "
    "folder forbids it (umask, chmod). An application may write to $HOME, $TMPDIR, /tmp and its "
    f"database: {PLACES}."
)
# What `patch-package` as a build meets: a script of package.json makes the install the tree's own.
PACKAGE_ADVICE = (
    "The files of packages are shared with other branches: a build may add files to node_modules "
    "and replace them by new ones, but not change them. What changes them belongs into "
    "`postinstall` of package.json."
)
SQLITE_NOTE = (
    "SQLite's file is beside the code. Only this preview's `release:` could write it there: on"
    " production it cannot, so this branch cannot ship. Put the file below $HOME, or use the"
    f" database that DATABASE_URL names: {PLACES}."
)


def explain_refused_write(output: str, tree: Path) -> str:
    """Return sentences about the last write of which `output` says that it was refused; else "".

    Only a file counts: a connection or a signal may be refused as well, without a path. `tree` is
    the application's, in which a relative path is.
    """
    for line in reversed(output.splitlines()):
        if is_refused_sqlite_file(line):
            return f"SQLite could not write its file. {ADVICE}"
        if REFUSED.search(line) and (path := _find_path(line)):
            is_beside = not path.startswith("/") or Path(path).is_relative_to(tree)
            return f"{path} could not be written. {ADVICE if is_beside else ADVICE_ELSEWHERE}"
    return ""


def explain_refused_package_write(output: str) -> str:
    """Return sentences about a package's file that could not be changed, by `output`; else ""."""
    for line in reversed(output.splitlines()):
        if REFUSED.search(line) and "node_modules" in (path := _find_path(line)).split("/"):
            return f"{path} could not be written. {PACKAGE_ADVICE}"
    return ""


def is_refused_sqlite_file(output: str) -> bool:
    """Return whether `output` says that SQLite could not write its file."""
    return SQLITE.search(output) is not None


def _find_path(line: str) -> str:
    quoted = [word for word in QUOTED.findall(line) if not NO_PATH.fullmatch(word)]
    if quoted:
        return str(quoted[-1])
    return next((found[1] for pattern in UNQUOTED if (found := pattern.search(line))), "")
