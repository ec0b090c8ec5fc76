"""The variables of applications in the operator's env files: their names, and the change of one.

Each start of a process reads the files, so nothing else has to be told of a change. No function
here returns a value: what is set is not shown again.
"""

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from host.app import environment
from host.config import Config, read_env_file
from host.env_file import parse_env, replace_values
from host.errors import Refused
from host.files import safe_files
from host.files.file_lock import file_lock
from host.masking.known_secrets import remember_variables
from host.masking.masks import create_masks
from host.process.users import User

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAME_LENGTH = 200
VALUE_LENGTH = 32 * 1024  # characters; a whole file may have 64 KiB
ABSENT = "absent"  # the version of a file that does not exist
LOCK_SECONDS = 10.0
PRIVATE = 0o600
# The restart: a running API does not see a folder that was made after its start.
INSTALL = "./scripts/systemd-install-runtime.sh and systemctl restart ouroboros-api"


@dataclass(frozen=True)
class VariableFile:
    """A file of variables: `key` is its name in addresses, `effect` says when it is read."""

    key: str
    name: str
    title: str
    effect: str


FILES = (
    VariableFile(
        "previews",
        environment.PREVIEW_FILE,
        "Previews and checks",
        "Read when a preview is prepared, and by each check. A preview that runs keeps its values "
        "until its branch has a new commit.",
    ),
    VariableFile(
        "production",
        environment.PRODUCTION_FILE,
        "Production",
        "Read when a release is started: in the merge gate, at each deployment and rollback, and "
        "when a process that ended is started again. What runs keeps its values until then.",
    ),
    VariableFile(
        "builds",
        environment.BUILD_FILE,
        "Builds",
        "Read by each build, of previews and of releases. What is built already stays as it is.",
    ),
)


@dataclass(frozen=True)
class FileState:
    """The names in a file; `problem` says why the control plane cannot read or write it, else "".

    `version` changes whenever the file does.
    """

    file: VariableFile
    path: Path
    names: tuple[str, ...]
    version: str
    problem: str


def find_file(key: str) -> VariableFile:
    """Return the file of that key. Raises Refused `env_file_unknown` (404)."""
    for file in FILES:
        if file.key == key:
            return file
    known = ", ".join(one.key for one in FILES)
    raise Refused("env_file_unknown", f"The files of variables are {known}.", status=404)


def read_state(config: Config, file: VariableFile) -> FileState:
    """Return the names of the file's variables, and whether they can be changed."""
    path = config.env_dir / file.name
    # Before the names: what changes in between makes the next change a conflict, and not lost.
    version = _read_version(path)
    try:
        names, problem = tuple(sorted(read_env_file(path))), _explain_read_only(path)
    except Refused as refused:
        names, problem = (), f"{refused.detail} Correct the file on the host."
    except OSError as error:
        names, problem = (), f"{path} cannot be read: {error.strerror}."
    return FileState(file, path, names, version, problem)


def write_variable(
    config: Config,
    file: VariableFile,
    name: str,
    value: str | None,
    *,
    version: str = "",
    record: Callable[[str], None] = lambda done: None,
) -> tuple[str, str]:
    """Set a variable, with None remove it. All other lines of the file stay.

    `version` is that of the file which the person saw; "" for any. Returns "added", "changed" or
    "removed", and a sentence if no process will get the variable, else "". `record` gets the first
    of them; the file is written after it, and not if it raises.
    Raises Refused `env_key_invalid`, `env_key_forbidden`, `env_secret_forbidden`,
    `env_value_invalid`, `env_file_too_large` (400), `variable_not_set` (404), `env_file_changed`,
    `env_file_not_writable`, `env_file_busy` (409), and as `read_env_file`.
    """
    note = "" if value is None else check_variable(config, file, name, value)
    busy = Refused("env_file_busy", f"Another change of {file.name} is being written: try again.")
    lock = config.var / "settings" / f"{file.name}.lock"
    with file_lock(lock, seconds=LOCK_SECONDS, refusal=busy):
        path = (config.env_dir / file.name).resolve()
        if version and version != _read_version(path):
            detail = f"{file.name} was changed meanwhile: look at it, and make your change again."
            raise Refused("env_file_changed", detail)
        before = read_env_file(path)
        if value is None and name not in before:
            raise Refused("variable_not_set", f"{name} is not set in {file.name}.", status=404)
        text = path.read_bytes().decode() if before or path.exists() else ""
        changed = replace_values(text, {name: value})
        _check_result(changed, {**before, name: value}, file, name)
        done = "removed" if value is None else "changed" if name in before else "added"
        record(done)
        if name in before:  # a text may still quote it
            remember_variables(config, file.name, {name: before[name]})
        _write(path, changed)
    return done, note


def check_variable(config: Config, file: VariableFile, name: str, value: str) -> str:
    """Return a sentence if no process will get the variable, else "".

    Raises Refused as `write_variable`.
    """
    if len(name) > NAME_LENGTH or not NAME.fullmatch(name):
        detail = "A name has letters, digits and _, and does not begin with a digit."
        raise Refused("env_key_invalid", detail, status=400, fields={"name": detail})
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refuse_value(file, name) from None
    return environment.check_operator_variable(config, name, value, file.name)


def check_reason(reason: str, value: str | None) -> None:
    """Raise Refused `value_in_reason` (400) for a reason that would put the value on record.

    That is what an application's log would be masked for: a password in it, or one of its lines.
    """
    if value and create_masks([value]).mask(reason) != reason:
        detail = "The reason contains the value: it is for others to read, so leave the value out."
        raise Refused("value_in_reason", detail, status=400, fields={"reason": detail})


def _check_result(text: str, wanted: dict[str, str | None], file: VariableFile, name: str) -> None:
    """Raise Refused unless the new file is read as what is wanted."""
    found = parse_env(text, file.name)
    if found != {one: value for one, value in wanted.items() if value is not None}:
        raise _refuse_value(file, name)


def _refuse_value(file: VariableFile, name: str) -> Refused:
    detail = f"An env file cannot hold this value of {name}: no NUL, lines end with a line feed."
    return Refused("env_value_invalid", detail, status=400, fields={"value": detail})


def _read_version(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ABSENT
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}"


def _explain_read_only(path: Path) -> str:
    """Return why the file cannot be replaced, with what to do; "" if it can."""
    if os.access(path.resolve().parent, os.W_OK):
        return ""
    return f"The control plane may not write in {path.resolve().parent}: {_advise(path)}"


def _write(path: Path, text: str) -> None:
    """Replace the file with its mode and owner. Raises Refused `env_file_not_writable`."""
    mode, owner = PRIVATE, None
    try:
        if path.exists():
            status = path.stat()
            mode = stat.S_IMODE(status.st_mode)
            owner = User(status.st_uid, status.st_gid) if os.geteuid() == 0 else None
        safe_files.write_atomic(path, text.encode(), mode, owner)
    except OSError as error:
        detail = f"{path} cannot be written: {error.strerror}. Nothing was changed; {_advise(path)}"
        raise Refused("env_file_not_writable", detail) from None


def _advise(path: Path) -> str:
    return f"edit {path.name} on the host, or run {INSTALL} there."
