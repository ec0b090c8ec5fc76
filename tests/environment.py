"""The environment of the tests: a PostgreSQL of this session, started before Django's settings."""

import atexit
import os
import random
import re
import shutil
import socket
import tempfile
from collections import deque
from contextlib import suppress
from functools import cache
from pathlib import Path

from host import config
from host.postgres.programs import server_programs
from host.postgres.programs.server_programs import Programs
from host.units import stack_ports
from ops.postgres.embedded_server import Cluster

PASSWORD = "only-for-the-tests-on-loopback"
# The ports of a stack are between 3100 and 3164, between 8000 and 8767, and 54329.
FIRST_OFFSET, LAST_OFFSET, STACK_SPAN = 6_700, 11_200, 768
RESERVED: deque[list[socket.socket]] = deque()
RESERVED_STACKS = 4
FAST = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"


def free_port() -> int:
    """Return a free port of 127.0.0.1, of all the one that was returned longest ago.

    The kernel gives none of these ports to a connection: one could be in use when what the test
    starts is to listen on it.
    """
    ports = _queue_ports()
    for _ in range(len(ports)):
        ports.rotate(-1)
        if _can_bind(ports[-1]):
            return ports[-1]
    raise OSError("No port of the tests is free.")


@cache
def _queue_ports() -> deque[int]:
    ports = list(list_test_ports())
    random.SystemRandom().shuffle(ports)  # another run of the tests may take them at the same time
    return deque(ports)


def _can_bind(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def free_offset() -> int:
    """Return a port offset with which all ports of a stack are free.

    Each process of pytest-xdist has offsets of its own, so that no other one uses such a port
    before this one does. The ports are below those of `free_port`; PostgreSQL's is above the ports
    that the kernel gives to connections by default.
    """
    worker, workers = _read_worker()
    span = (LAST_OFFSET - FIRST_OFFSET) // workers
    first = FIRST_OFFSET + worker * span
    while True:
        offset = random.SystemRandom().randrange(first, max(first + span - STACK_SPAN, first + 1))
        loaded = config.load({"OROBOROS_PORT_OFFSET": str(offset)})
        ports = {port for _, port, _ in stack_ports.list_ports(loaded)}
        ports |= {loaded.discard_port, *(slot.mail_port for slot in loaded.slots)}
        if all(map(_can_bind, ports)) and _reserve(ports):
            return offset


def _reserve(ports: set[int]) -> bool:
    """Keep the ports from `free_offset` of other runs of the tests; returns whether none has one.

    Those of the last few stacks stay reserved, each by an abstract Unix socket of its name.
    """
    sockets: list[socket.socket] = []
    try:
        for port in ports:
            sockets.append(socket.socket(socket.AF_UNIX))
            sockets[-1].bind(f"\0oroboros-tests-port-{port}")
    except OSError:
        for one in sockets:
            one.close()
        return False
    RESERVED.append(sockets)
    while len(RESERVED) > RESERVED_STACKS:
        for one in RESERVED.popleft():
            one.close()
    return True


@cache
def list_test_ports() -> range:
    """Return the ports of this process of pytest-xdist, above those of any stack of the tests."""
    worker, workers = _read_worker()
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    # The last one is for a host whose connections may have any port.
    spans = ((20_000, first), (last + 1, 65_536), (20_000, 65_536))
    return next(filter(None, (range(start + worker, end, workers) for start, end in spans)))


def _read_worker() -> tuple[int, int]:
    """Return the number of this process of pytest-xdist, and how many there are."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return worker, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def is_listening(port: int) -> bool:
    """Return whether a process accepts connections on the port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def find_wheel() -> Programs:
    """Return the PostgreSQL of the wheel: the same on every host that runs the tests."""
    return next(one for one in server_programs.find_servers() if one.is_wheel)


def _stop(owner: int, cluster: Cluster, folder: Path) -> None:
    """Stop the cluster and remove its files, unless a child that a test forked calls this."""
    if os.getpid() == owner:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _start() -> Cluster:
    folder = Path(tempfile.mkdtemp(prefix="oroboros-tests-"))
    folder.chmod(0o755)  # processes of other uids must reach their files below it
    (folder / "var" / "static").mkdir(parents=True)  # WhiteNoise warns if it does not exist
    example = (config.HOME / ".env.example").read_text()
    settings = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))
    for name in list(os.environ):  # a host's own configuration must not affect the tests
        if name in settings or name.startswith("OROBOROS_"):
            del os.environ[name]
    port = free_port()
    cluster = Cluster(folder / "postgres", port, config.load({}).postgres_user, find_wheel())
    cluster.start(FAST)
    atexit.register(_stop, os.getpid(), cluster, folder)
    cluster.ensure_role("oroboros", PASSWORD, "CREATEDB")
    cluster.ensure_role("oroboros_admin", PASSWORD, "CREATEDB", "CREATEROLE")
    cluster.ensure_database("oroboros", "oroboros")
    cluster.close_to_public({"postgres": ["oroboros", "oroboros_admin"], "template1": ["oroboros"]})
    server = f"127.0.0.1:{port}"
    os.environ.update(
        OROBOROS_ENV_DIR=str(folder / "env"),
        OROBOROS_VAR=str(folder / "var"),
        SECRET_KEY="a-long-value-that-only-the-tests-use-4f1c9a7be2",
        DATABASE_URL=f"postgresql://oroboros:{PASSWORD}@{server}/oroboros",
        PREVIEW_ADMIN_DATABASE_URL=f"postgresql://oroboros_admin:{PASSWORD}@{server}/postgres",
        PREVIEW_BACKEND_DATABASE_URL_TEMPLATE=f"postgresql://{server}/{{db_name}}",
    )
    return cluster


CLUSTER = _start()
