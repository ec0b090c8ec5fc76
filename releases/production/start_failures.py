"""Names in what production differs, from what an application printed before it failed to start.

Pure functions over its last lines. Each rule looks for the messages of Python, Node, Ruby, Go, PHP
and the shell; what no rule recognises is left to the lines themselves.
"""

import posixpath
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from host.app.dependencies.network_failures import find_network_failure
from host.files.write_refusals import PLACES

MAX_DIFFERENCES = 3
SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 — read from messages, not used
# EROFS, EACCES, EPERM as errno(3) and the runtimes print them.
DENIED = re.compile(
    r"read-only file ?system|permission denied|operation not permitted|\bE(?:ROFS|ACCES|PERM)\b"
    r"|PermissionError|not writ(?:e)?able|PermissionDenied",
    re.I,
)
EXISTS = re.compile(r"file exists|FileExistsError|\bEEXIST\b", re.I)
MISSING = re.compile(r"no such file or directory|FileNotFoundError|\bENOENT\b", re.I)
# A path in quotes, an absolute path, or the word that Ruby, Go and the shell put in its place.
PATHS = (
    re.compile(r"'([^'\s]+)'|\"([^\"\s]+)\"|`([^`\s]+)`"),
    re.compile(r"(?<![\w.:/])(/[\w.@+~-]+(?:/[\w.@+~-]+)*)"),
    re.compile(r"@ \w+ - (\S+)|(?:open|mkdir|create|touch|rename|unlink|chmod) ([\w./@+~-]+)"),
)
SQLITE = re.compile(r"attempt to write a readonly database|unable to open database file", re.I)
# What Python's os.environ, django-environ, python-decouple, dotenv-like checks and shells print.
VARIABLE = re.compile(
    r"KeyError: ['\"]([A-Z][A-Z0-9_]+)['\"]"
    r"|[Ss]et the ([A-Z][A-Z0-9_]+) environment variable"
    r"|\b([A-Z][A-Z0-9_]+) not found\. Declare it"
    r"|key not found: \"([A-Z][A-Z0-9_]+)\""
    r"|(?:environment variable|env(?:ironment)? var) [`'\"]?([A-Z][A-Z0-9_]+)"
    r"|\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b:? (?:is |must be |was )?"
    r"(?:not set|unset|undefined|missing|required|parameter not set)",
)
IN_USE = re.compile(r"address already in use|\bEADDRINUSE\b|bind:.*in use", re.I)
OPEN_FILES = re.compile(r"too many open files|\bEMFILE\b", re.I)
# What Python's setrlimit and the shell's ulimit print; neither says of which limit in the same way.
RAISED = re.compile(
    r"not allowed to raise maximum limit|cannot modify limit|current limit exceeds maximum limit",
    re.I,
)
LIMIT_NAME = re.compile(r"RLIMIT_([A-Z]+)|ulimit: ([a-z ]+): cannot modify limit")
ULIMIT_NAMES = {
    "open files": "NOFILE",
    "max user processes": "NPROC",
    "stack size": "STACK",
    "max locked memory": "MEMLOCK",
    "virtual memory": "AS",
    "data seg size": "DATA",
    "core file size": "CORE",
    "file size": "FSIZE",
}
TASKS = re.compile(
    r"can't start new thread|pthread_create failed|unable to create (?:native )?thread"
    r"|cannot fork|fork: (?:retry|Resource)|BlockingIOError: \[Errno 11\]",
    re.I,
)
# A lock that another process has fails with the same number as a fork beyond the limit.
LOCKED = re.compile(r"\b(?:flock|lockf|LOCK_NB|F_(?:OFD_)?SETLK)\b", re.I)
WOULD_BLOCK = re.compile(r"\bBlockingIOError\b|\bEAGAIN\b")
NEAR_LINES = 4  # between a call in a stack and the error, or the reverse
MEMORY = re.compile(r"\bMemoryError\b|cannot allocate memory|heap out of memory|\bENOMEM\b", re.I)
REFUSED = re.compile(r"connection refused|\bECONNREFUSED\b", re.I)
ADDRESS = re.compile(
    r"(?:to|at|server|ECONNREFUSED|tcp|connect)[: ]+['\"]?([\w.:\[\]-]*[\w\]]:\d{2,5})"
    r"|host ['\"]([\w.-]+)['\"].*?port (\d+)|host='([\w.-]+)', port=(\d+)",
    re.I,
)


@dataclass(frozen=True)
class Facts:
    """What is known of the start: its folders, ports and variables.

    `folder` is the working directory, `preview_only` maps the variables that previews have and
    production lacks to what to do about each, `names` are those that production has.
    """

    tree: str
    folder: str
    home: str
    port: int
    preview_ports: Collection[int]
    preview_folder: str
    preview_only: dict[str, str]
    names: Collection[str]


Rule = Callable[[list[str], Facts], Iterator[str]]


def find_differences(output: str, facts: Facts) -> list[str]:
    """Return sentences that name in what production differs, at most MAX_DIFFERENCES."""
    lines = output.splitlines()
    found = [sentence for rule in RULES for sentence in rule(lines, facts)]
    return list(dict.fromkeys(found))[:MAX_DIFFERENCES]


def _find_sqlite(lines: list[str], facts: Facts) -> Iterator[str]:
    if any(SQLITE.search(line) for line in lines):
        yield (
            "It writes an SQLite file that it may not write: a release's tree is read-only in "
            f"production. Use DATABASE_URL, or put the file below HOME: {PLACES}."
        )


def _find_variables(lines: list[str], facts: Facts) -> Iterator[str]:
    text = "\n".join(lines)
    for name, remedy in facts.preview_only.items():
        if re.search(rf"\b{re.escape(name)}\b", text):
            yield (
                f"It needs the variable {name}, which previews have and production has not: "
                f"{remedy}."
            )
    for match in VARIABLE.finditer(text):
        name = next(group for group in match.groups() if group)
        if name not in facts.preview_only and name not in facts.names:
            yield f"It needs the variable {name}, which production has not: set it in app.env."


def _find_ports(lines: list[str], facts: Facts) -> Iterator[str]:
    text = "\n".join(lines)
    for port in sorted(facts.preview_ports):
        if re.search(rf"(?<!\d){port}(?!\d)", text):
            yield (
                f"It uses port {port}, which belongs to a preview: it has to listen on PORT "
                f"({facts.port} here), which is another one at each start."
            )
            return
    if any(IN_USE.search(line) for line in lines):
        yield (
            f"It binds a port that is in use: it has to listen on PORT ({facts.port} here), which "
            "is another one in each preview and in production."
        )


def _find_files(lines: list[str], facts: Facts) -> Iterator[str]:
    found = list(_find_denied_and_missing(lines, facts))
    # Node prints the error's name in a line of its own: it says less than the one with the path.
    named = [sentence for sentence in found if sentence != _describe_denied("", facts)]
    yield from named or found


def _find_denied_and_missing(lines: list[str], facts: Facts) -> Iterator[str]:
    for line in lines:
        path = _find_path(line, facts)
        is_denied = DENIED.search(line) and not (_is_address(line) or RAISED.search(line))
        # A lock file of another user, whom a sticky folder protects.
        if is_denied or (EXISTS.search(line) and _is_below(path, SHARED_FOLDERS)):
            yield _describe_denied(path, facts)
        elif path and MISSING.search(line):
            yield from _describe_missing(path, facts)


def _describe_denied(path: str, facts: Facts) -> str:
    if not path:
        return (
            "It was not permitted to write a file: in production the release's tree is read-only, "
            f"and the application may write below HOME ({facts.home}) and in its own /tmp."
        )
    if _is_below(path, (facts.tree,)):
        name = posixpath.relpath(path, facts.tree)
        return (
            f"It writes {name} in its own tree, which is read-only in production: write it below "
            f"HOME or TMPDIR, or make it in a build: {PLACES}."
        )
    if _is_below(path, SHARED_FOLDERS):
        return (
            f"It uses {path}, which a process of another user has made, such as its own preview: "
            "use a file below TMPDIR, or one with a name of its own."
        )
    if _is_below(path, (facts.home,)):
        return (
            f"It was not permitted to use {path}, although it is below HOME: another user owns it, "
            "or its mode or that of its folder forbids it (umask, chmod)."
        )
    return (
        f"It was not permitted to use {path}: in production it may write below HOME "
        f"({facts.home}) and in its own /tmp only."
    )


def _describe_missing(path: str, facts: Facts) -> Iterator[str]:
    if _is_below(path, (facts.preview_folder,)):
        yield f"It uses {path}, which only previews have."
    elif path.endswith(".sock"):
        yield f"It connects to {path}, on which no process listens in production."
    elif _is_below(path, (facts.tree,)):
        name = posixpath.relpath(path, facts.tree)
        yield (
            f"It does not find {name} in its tree: production has only what the commit and its "
            "builds hold, not what `release:` or a seed wrote in a preview."
        )


def _find_limits(lines: list[str], facts: Facts) -> Iterator[str]:
    text = "\n".join(lines)
    refused_locks = _find_refused_locks(lines)
    if refused_locks:
        yield (
            "It takes a lock that another process has: while production switches, the release that "
            "is live runs too."
        )
    others = "\n".join(line for number, line in enumerate(lines) if number not in refused_locks)
    for pattern, what, limit in (
        (OPEN_FILES, "more open files", "LimitNOFILE"),
        (TASKS, "more processes or threads", "TasksMax"),
        (MEMORY, "more memory", "MemoryMax"),
    ):
        if pattern.search(others):
            yield f"It needs {what} than production's limit: {_advise_on_limit(limit)}"
    if RAISED.search(text):
        name = _find_raised_limit(text)
        limit = f"the limit {name}" if name else "a resource limit"
        advice = _advise_on_limit(f"Limit{name or 'NOFILE'}")
        yield f"It raises {limit} above production's: {advice}"


def _find_refused_locks(lines: list[str]) -> set[int]:
    """Return the numbers of the lines that say that a lock was refused: its call is near them."""
    calls = [number for number, line in enumerate(lines) if LOCKED.search(line)]
    return {
        number
        for number, line in enumerate(lines)
        if WOULD_BLOCK.search(line) and any(abs(number - call) <= NEAR_LINES for call in calls)
    }


def _find_raised_limit(text: str) -> str:
    """Return which limit the output says was raised, as setrlimit(2) names it; "" if none."""
    names = _find_groups(LIMIT_NAME, text)
    return ULIMIT_NAMES.get(names[0], names[0]) if names else ""


def _advise_on_limit(setting: str) -> str:
    return (
        f"raise {setting} of ouroboros-app@.service (without systemd, the worker's ulimit), or "
        "have it need less."
    )


def _find_services(lines: list[str], facts: Facts) -> Iterator[str]:
    if line := _find_line(lines, REFUSED):
        address = ":".join(_find_groups(ADDRESS, line))
        yield (
            f"Its connection{f' to {address}' if address else ''} was refused: no process listens "
            "there, and production starts none besides its own."
        )


def _find_network(lines: list[str], facts: Facts) -> Iterator[str]:
    host = find_network_failure("\n".join(lines))
    if host is not None:
        named = f" ({host})" if host else ""
        yield f"It needs the network when it starts, and did not reach it{named}."


RULES: tuple[Rule, ...] = (
    _find_sqlite,
    _find_variables,
    _find_ports,
    _find_files,
    _find_limits,
    _find_services,
    _find_network,
)


def _find_line(lines: list[str], pattern: re.Pattern[str]) -> str:
    return next((line for line in lines if pattern.search(line)), "")


def _find_groups(pattern: re.Pattern[str], line: str) -> list[str]:
    """Return what the groups of the pattern match in the line, without those that match nothing."""
    match = pattern.search(line)
    return [group for group in match.groups() if group] if match else []


def _find_path(line: str, facts: Facts) -> str:
    """Return the path that the line names, absolute; "" if it names none."""
    for pattern in PATHS:
        # The last one: what comes before it is the program's own path or the kind of error.
        for match in reversed(list(pattern.finditer(line))):
            path = next((group for group in match.groups() if group), "")
            # Python ends its message with the quoted path; elsewhere a quoted word may be any name.
            is_last = match.end() == len(line.rstrip())
            if "/" in path or "." in path or is_last or pattern is not PATHS[0]:
                return posixpath.normpath(posixpath.join(facts.folder, path.rstrip(":,.;")))
    return ""


def _is_below(path: str, folders: Collection[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _is_address(line: str) -> bool:
    """Return whether a socket or the database refused, and not the file system."""
    return bool(re.search(r"bind|listen|socket|permission denied (?:for|to)\b|psycopg", line, re.I))
