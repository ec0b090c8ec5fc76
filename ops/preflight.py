"""Checks before anything is started that the stack can run here, and lists every problem at once.

Before the first release it also asks the git remote and the package index's proxy. It runs before
anything is installed: standard library only.
"""

import importlib.util
import os
import pwd
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from host import config as configuration
from host.config import Config
from host.masking.urls import hide_password
from host.process import process_table, runner, socket_owner
from host.process.users import User
from host.units import managers
from host.units.stack_ports import POSTGRES, list_ports
from ops import demo
from ops.preconditions import checkout_path, git_remote, proxies

OLDEST_GIT = (2, 38)  # the first with merge-tree --write-tree
# What .venv, PostgreSQL and the demo take (0.5 GB), and ADMISSION_FREE_DISK_MB (1 GB) above that.
DISK_MB = 1536
CONNECT_SECONDS = 1.0
COMMAND_SECONDS = 20.0


def find_problems(config: Config, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return every problem that prevents a start, each with what to do.

    `environ` is the caller's environment.
    """
    problems = [
        *check_programs(),
        *check_paths(config),
        *check_disk(config),
        *check_ownership(config),
        *check_port_offset(config),
        *check_demo(config),
        *check_ports(config),
    ]
    problems += check_low_ports(config)
    # None without root: then previews run as this user, who can read the checkout.
    user = config.slot_user(config.slots[0])
    if user is not None and shutil.which("setpriv"):
        problems += [*check_interpreter(user), *check_checkout(config, user)]
    # A stack that has a release must start while the remote or the network is down.
    if not (config.var / "current").exists():
        problems += proxies.find_proxy_problems(environ)
        if not demo.is_demo(config) and read_git_version() is not None:
            problems += git_remote.find_remote_problems(config)
    return problems


def check_paths(config: Config) -> Iterator[str]:
    """Check that the programs here can read the paths of the checkout and of var."""
    yield from checkout_path.find_path_problems(config.home)
    if not config.var.is_relative_to(config.home):
        yield from checkout_path.find_path_problems(config.var)
    if not find_existing_folder(config.var).is_dir():
        yield f"OROBOROS_VAR is {config.var}, which is not a folder: name one, or unset it."


def check_programs() -> Iterator[str]:
    """Check git, setpriv, and a way to install uv."""
    if sys.platform != "linux":
        yield "This runs on Linux only: use a Linux host or a virtual machine."
    version = read_git_version()
    oldest = ".".join(map(str, OLDEST_GIT))
    if version is None:
        yield f"git is missing: install git {oldest} or newer (on Debian: apt-get install git)."
    elif version < OLDEST_GIT:
        yield f"git is {'.'.join(map(str, version))}, too old: install {oldest} or newer."
    if shutil.which("setpriv") is None:
        yield "setpriv is missing: install util-linux."
    # Debian splits ensurepip from Python into python3-venv; with uv it is not needed.
    if shutil.which("uv") is None and importlib.util.find_spec("ensurepip") is None:
        yield (
            "Neither uv nor Python's venv is here: install one of them "
            "(on Debian: apt-get install python3-venv)."
        )


def read_git_version() -> tuple[int, ...] | None:
    """Return git's version; None if git is not installed."""
    try:
        output = runner.capture(["git", "--version"], timeout=COMMAND_SECONDS).stdout.decode()
    except OSError:
        return None
    match = re.search(r"(\d+)\.(\d+)", output)
    return (int(match[1]), int(match[2])) if match else None


def check_disk(config: Config) -> Iterator[str]:
    """Check the free space of the file systems of the checkout and of var."""
    for folder in {config.home, find_existing_folder(config.var)}:
        free = shutil.disk_usage(folder).free // 2**20
        if free < DISK_MB:
            yield f"{folder} has {free} MB free, {DISK_MB} MB are needed: free some space there."
            return  # both are often one file system: one message is enough


def check_ownership(config: Config) -> Iterator[str]:
    """Check that this user has a name and can write to the checkout and to var."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        yield f"uid {os.geteuid()} has no name, and PostgreSQL needs one: add it to /etc/passwd."
    for folder in (config.home, find_existing_folder(config.var), config.var / "env"):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            owner = folder.stat().st_uid
            yield (
                f"{folder} belongs to uid {owner} and cannot be written: run as that user, "
                "or use a checkout of your own."
            )
            return


def check_low_ports(config: Config) -> Iterator[str]:
    """Check that this user may listen on the ports of public mode. Under systemd the unit may."""
    path = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    first = int(path.read_text()) if path.exists() else 1024
    if config.is_public and config.http_port < first and os.geteuid() != 0:
        yield (
            f"OROBOROS_PUBLIC needs the ports {config.http_port} and {config.https_port}, which "
            "this user may not listen on: install the units (docs/install.md), set "
            "OROBOROS_PORT_OFFSET, or run it as root."
        )


def check_port_offset(config: Config) -> Iterator[str]:
    """Check that the checkout was set up with the port offset that is set now."""
    api_env = configuration.read_env_file(config.env_dir / "api.env")
    set_up_with = api_env.get("OROBOROS_PORT_OFFSET") or "0"
    offset = config.get("OROBOROS_PORT_OFFSET", "0")
    if api_env and set_up_with != offset:
        yield (
            f"OROBOROS_PORT_OFFSET is {offset}, but {config.env_dir} was made with {set_up_with}: "
            "leave it unset, or remove var/ to start over."
        )


def check_demo(config: Config) -> Iterator[str]:
    """Check that a stack of the demo is not given another repository, whose main it lacks."""
    stored = configuration.read_env_file(config.env_dir / "worker.env").get("GIT_REMOTE_URL")
    if stored == str(demo.remote_path(config)) and not demo.is_demo(config):
        yield (
            f"GIT_REMOTE_URL is {hide_password(config.git_remote_url)}, but {config.var} has the "
            "demo, another history: unset it, use another checkout, or remove var/ to start over."
        )


def check_ports(config: Config) -> Iterator[str]:
    """Check that each port of the stack is free, or used by a process of this checkout."""
    # By connecting, not by binding: with SO_REUSEPORT, as Caddy sets it, a second bind succeeds.
    manager = managers.get_manager(config)
    for purpose, port, unit in list_ports(config):
        # On any address: a program on [::1] or on all interfaces takes the port too.
        is_taken = bool(socket_owner.list_listeners(port)) or is_accepting(port)
        if not is_taken or manager.status(unit, port).listening == "ours":
            continue
        # The cluster is not a unit: its pid file says whether the listener is this checkout's.
        if unit == POSTGRES and find_listener_pids(port) == {read_postmaster_pid(config)}:
            continue
        yield (
            f"Port {port} ({purpose}) is taken by {describe_listener(port)}: stop it, or set "
            "OROBOROS_PORT_OFFSET, which is added to every port."
        )


def is_accepting(port: int) -> bool:
    """Return whether a process accepts connections on the port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:  # such as a full backlog: the kernel knows whether a socket listens
        return bool(socket_owner.list_listeners(port))
    return True


def find_listener_pids(port: int) -> set[int]:
    """Return the pids that listen on the port; without root, only those of this user."""
    return {
        pid
        for listener in socket_owner.list_listeners(port)
        for pid in socket_owner.find_holders(listener.inode)
    }


def read_postmaster_pid(config: Config) -> int:
    """Return the pid of this checkout's PostgreSQL; 0 if it does not run."""
    try:
        return int((config.var / "postgres/data/postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def describe_listener(port: int, own: int = 0) -> str:
    """Return a description of the process, other than `own`, that listens on the port."""
    pids = sorted(find_listener_pids(port) - {own})
    if pids:
        return process_table.describe_process(pids[0])
    return next(
        (f"a process of uid {listener.uid}" for listener in socket_owner.list_listeners(port)),
        "a process",
    )


def check_interpreter(user: User) -> Iterator[str]:
    """Check that the slots' users can execute this Python: as root, previews run as them."""
    program = os.path.realpath(sys.executable)
    if not can_run([program, "-I", "-c", "import json"], user):
        yield (
            f"{program} cannot be executed by the users that previews run as: set "
            "OROBOROS_PYTHON to one that can, such as /usr/bin/python3."
        )


def check_checkout(config: Config, user: User) -> Iterator[str]:
    """Check that the slots' users can enter and read this checkout: previews run as them."""
    for folder in dict.fromkeys((config.home, find_existing_folder(config.var))):
        if not can_run(["ls", "-d", f"{folder}/."], user):
            closed = find_closed_folder(folder)
            yield (
                _describe_closed_checkout(config)
                if closed == config.home
                else f"The users that previews run as cannot enter {closed}: clone into a folder "
                "that every user can enter, such as /srv, or do not run this as root."
            )
            return
    # One file stands for all: a umask of 077 at the clone closes every file alike.
    if not can_run(["cat", str(config.home / "slots/runtime/idle_page.py")], user):
        yield _describe_closed_checkout(config)


def _describe_closed_checkout(config: Config) -> str:
    """Return the problem of a clone under umask 077, with the commands that open what is read.

    Not all of it: var has secrets.
    """
    read = [config.home / name for name in ("host", "slots", ".venv")]
    opened = shlex.join(["chmod", "-R", "go+rX", *(str(path) for path in read if path.exists())])
    return (
        "The users that previews run as cannot read this checkout, as after a clone under umask "
        f"077: {shlex.join(['chmod', 'go+rX', str(config.home)])} && {opened}"
    )


def can_run(argv: list[str], user: User) -> bool:
    """Return whether the command exits with 0 as that user."""
    return runner.capture(argv, timeout=COMMAND_SECONDS, user=user).exit_code == 0


def find_closed_folder(path: Path) -> Path:
    """Return the topmost folder of the path that other users cannot enter."""
    folders = [*reversed(path.parents), path]
    return next((folder for folder in folders if not folder.stat().st_mode & 0o001), path)


def find_existing_folder(path: Path) -> Path:
    """Return the folder, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
