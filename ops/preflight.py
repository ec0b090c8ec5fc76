"""Whether everything can run here: looked at before anything is started, all of it at once."""

import importlib.util
import os
import pwd
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from host import config as configuration
from host.config import Config
from host.process import process_table, runner, socket_owner
from host.process.runner import User
from host.units import managers

OLDEST_GIT = (2, 38)  # merge-tree --write-tree
DISK_MB = 1536
CONNECT_SECONDS = 1.0
ASK_SECONDS = 20.0


def problems(config: Config) -> list[str]:
    """Return what stands in the way, each with what to do about it."""
    found = [*programs(), *disk(config), *ownership(config), *settings(config), *ports(config)]
    user = config.slot_user(config.slots[0])
    if user is not None and shutil.which("setpriv"):
        found += [*interpreter(user), *checkout(config, user)]
    return found


def programs() -> Iterator[str]:
    """Git, the launcher of util-linux, and what brings uv."""
    if sys.platform != "linux":
        yield "This runs on Linux only: use a Linux host or a virtual machine."
    version = git_version()
    wanted = ".".join(map(str, OLDEST_GIT))
    if version is None:
        yield f"git is missing: install git {wanted} or newer (on Debian: apt-get install git)."
    elif version < OLDEST_GIT:
        yield f"git is {'.'.join(map(str, version))}, too old: install {wanted} or newer."
    if shutil.which("setpriv") is None:
        yield "setpriv is missing: install util-linux."
    if shutil.which("uv") is None and importlib.util.find_spec("ensurepip") is None:
        yield (
            "Neither uv nor Python's venv is here: install one of them "
            "(on Debian: apt-get install python3-venv)."
        )


def git_version() -> tuple[int, ...] | None:
    """Return git's version, None where there is no git."""
    try:
        said = runner.capture(["git", "--version"], timeout=ASK_SECONDS).stdout.decode()
    except OSError:
        return None
    match = re.search(r"(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else None


def disk(config: Config) -> Iterator[str]:
    """Room for what is installed, and above the floor below which no slot is granted."""
    for place in {config.home, nearest(config.var)}:
        free = shutil.disk_usage(place).free // 2**20
        if free < DISK_MB:
            yield f"{place} has {free} MB free, {DISK_MB} MB are needed: make room there."
            return


def ownership(config: Config) -> Iterator[str]:
    """Whether we are somebody, and may write where we have to."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        yield f"uid {os.geteuid()} has no name, and PostgreSQL wants one: add it to /etc/passwd."
    for place in (config.home, nearest(config.var), config.var / "env"):
        if place.exists() and not os.access(place, os.W_OK | os.X_OK):
            owner = place.stat().st_uid
            yield (
                f"{place} belongs to uid {owner} and cannot be written: run as that user, "
                "or use a checkout of your own."
            )
            return


def settings(config: Config) -> Iterator[str]:
    """Whether this checkout was set up for the ports we are asked for now."""
    kept = configuration.read_env_file(config.env_dir / "api.env")
    then = kept.get("OROBOROS_PORT_OFFSET") or "0"
    now = config.get("OROBOROS_PORT_OFFSET", "0")
    if kept and then != now:
        yield (
            f"OROBOROS_PORT_OFFSET is {now}, but {config.env_dir} was made with {then}: "
            "leave it unset, or remove var/ to begin anew."
        )


def ports(config: Config) -> Iterator[str]:
    """Every port that is ours to use: free, or held by what this checkout started.

    Asked by connecting: two web servers can bind one port without a word.
    """
    manager = managers.manager(config)
    for what, port, unit in port_table(config):
        if not answers(port) or manager.status(unit, port).listening == "ours":
            continue
        if port == config.postgres_port and holders(port) == {postmaster(config)}:
            continue
        yield (
            f"Port {port} ({what}) is taken by {describe(port)}: stop it, or set "
            "OROBOROS_PORT_OFFSET, which is added to every port."
        )


def port_table(config: Config) -> Iterator[tuple[str, int, str]]:
    """What each port is for, its number, and the unit that may hold it."""
    yield "control API", config.api_port, "ouroboros-api"
    yield "worker", config.worker_port, "ouroboros-worker"
    yield "web main", config.web_port, "ouroboros-web@main"
    for slot in config.slots:
        yield f"web {slot.slot_id}", slot.web_port, f"ouroboros-web@preview{slot.number}"
        yield f"backend of {slot.slot_id}", slot.backend_port, f"ouroboros-preview@{slot.slot_id}"
    for colour, port in zip(("blue", "green"), config.colour_ports, strict=True):
        yield f"production, {colour}", port, f"ouroboros-app@{colour}"
    yield "router", config.router_port, "ouroboros-caddy"
    yield "PostgreSQL", config.postgres_port, "postgres"


def answers(port: int) -> bool:
    """Say whether somebody accepts connections on the port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return bool(socket_owner.listeners(port))
    return True


def holders(port: int) -> set[int]:
    """Return the pids that listen on the port, as far as we may see them."""
    return {pid for one in socket_owner.listeners(port) for pid in socket_owner.holders(one.inode)}


def postmaster(config: Config) -> int:
    """Return the pid of this checkout's PostgreSQL, 0 if it has none."""
    try:
        return int((config.var / "postgres/data/postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def describe(port: int) -> str:
    """Say who holds the port."""
    pids = sorted(holders(port))
    if pids:
        return process_table.describe(pids[0])
    return next((f"a process of uid {one.uid}" for one in socket_owner.listeners(port)), "somebody")


def interpreter(user: User) -> Iterator[str]:
    """As root, previews run as other users, who must be able to execute this very Python."""
    program = os.path.realpath(sys.executable)
    if not succeeds([program, "-I", "-c", "import json"], user):
        yield (
            f"{program} cannot be executed by other users, as whom previews run: set "
            "OROBOROS_PYTHON to one that can, such as /usr/bin/python3."
        )


def checkout(config: Config, user: User) -> Iterator[str]:
    """As root, the other users must get to this checkout and be able to read it."""
    for place in dict.fromkeys((config.home, nearest(config.var))):
        if not succeeds(["ls", "-d", f"{place}/."], user):
            yield (
                f"Other users, as whom previews run, cannot enter {blocked(place)}: clone into a "
                "folder that all may enter, such as /srv, or run this as a user of your own."
            )
            return
    if not succeeds(["cat", str(config.home / "slots/runtime/idle_page.py")], user):
        yield f"Other users cannot read this checkout: chmod -R go+rX {config.home}"


def succeeds(argv: list[str], user: User) -> bool:
    """Say whether the command ends well as that user."""
    return runner.capture(argv, timeout=ASK_SECONDS, user=user).exit_code == 0


def blocked(place: Path) -> Path:
    """Return the uppermost folder on the way that others may not enter."""
    way = [*reversed(place.parents), place]
    return next((folder for folder in way if not folder.stat().st_mode & 0o001), place)


def nearest(place: Path) -> Path:
    """Return the folder, or the nearest one above it that is there already."""
    return next(folder for folder in (place, *place.parents) if folder.exists())
