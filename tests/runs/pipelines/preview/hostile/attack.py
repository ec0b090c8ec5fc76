"""An application that tries to get what is not its own, and reports what it got.

    python attack.py build|check|serve

Standard library only; psycopg is loaded from the host's own folder, which all users may read. Each
attempt returns what it got: an empty list is a host that held.
"""

import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = json.loads((HERE / "targets.json").read_text())
PLANTED_SECRETS = [secret.encode() for secret in TARGETS["secrets"]]
READ_BYTES = 1 << 20
CONTROL_COOKIES = (
    "oroboros_session=stolen; Path=/",
    "__Host-oroboros_csrftoken=stolen; Secure",
    "\xa0oroboros_session=stolen; Path=/",
    "=oroboros_session=stolen",
    "mine=1; Domain=localhost",
)
# Sets the title of a terminal, clears it, and reverses the order of what follows.
ESCAPES = "\x1b]0;stolen\x07\x1b[2J\x9b2J\u202e"


def environment():
    """Return the names of variables that hold a secret of the control plane."""
    return [name for name, value in os.environ.items() if holds_secret(value.encode())]


def holds_secret(raw):
    return any(secret in raw for secret in PLANTED_SECRETS)


def others():
    """Return the pids of other users' processes, as far as /proc shows them."""
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and folder.stat().st_uid != os.getuid():
                yield int(folder.name)


def processes():
    """Return what another user's process gives away: its environment, memory, files, secrets."""
    got = []
    for pid in others():
        for name in ("environ", "mem", "maps", "auxv", "io"):
            with suppress(OSError), Path(f"/proc/{pid}/{name}").open("rb") as file:
                if file.read(1):  # a kernel thread's are empty
                    got.append(f"{pid} {name}")
        for name in ("cwd", "root", "exe", "fd"):
            with suppress(OSError):
                list(Path(f"/proc/{pid}/{name}").iterdir())
                got.append(f"{pid} {name}")
        with suppress(OSError):
            if holds_secret(Path(f"/proc/{pid}/cmdline").read_bytes()):
                got.append(f"{pid} cmdline")
    return got


def signals():
    """Return whom we may end."""
    got = []
    for pid in others():
        with suppress(OSError):
            os.kill(pid, 0)
            got.append(pid)
    return got


def secret_files():
    """Return which of the named files and folders can be read, listed or changed."""
    got = []
    for path in map(Path, TARGETS["files"]):
        with suppress(OSError):
            with path.open("rb") as file:
                file.read(1)
            got.append(f"read {path}")
        with suppress(OSError):
            os.listdir(path)
            got.append(f"list {path}")
        with suppress(OSError):
            (path / "planted").write_text("planted")
            got.append(f"plant {path}")
    return got


def tree():
    """Return what of the host's folder can be written to or listed, and read that is not public.

    Public is what is served and what all users' commands consist of: its files, and the folders
    below those named. We know every path: a person who saw the host listed them.
    """
    got = []
    mine = [HERE, Path(os.environ["HOME"]), *map(Path, TARGETS["mine"])]
    for place in sorted(known()):
        if not any(place.is_relative_to(one) for one in mine):
            got += folder_gives(place) if os.path.isdir(place) else file_gives(place)
            if os.access(place, os.W_OK) and not os.path.islink(place):
                got.append(f"write {place}")
    return got


def known():
    """Return every path of the host's folder: what we find by ourselves, and what we were told."""
    found = {Path(path) for path in json.loads(Path(TARGETS["known"]).read_text())}
    for folder, folders, names in (step for root in TARGETS["roots"] for step in os.walk(root)):
        found |= {Path(folder), *(Path(folder, name) for name in [*folders, *names])}
    return found


def folder_gives(place):
    """Return whether another user's folder can be listed."""
    shown = [Path(one) for one in TARGETS["public"]]
    if str(place) in TARGETS["open"] or any(one in place.resolve().parents for one in shown):
        return []
    with suppress(OSError):
        os.listdir(place)
        return [f"list {place}"]
    return []


def file_gives(path):
    """Return what can be read in another user's file."""
    got = []
    with suppress(OSError):
        if path.is_file():
            if holds_secret(path.read_bytes()[:READ_BYTES]):
                got.append(f"secret {path}")
            if not any(path.is_relative_to(one) for one in TARGETS["public"]):
                got.append(f"read {path}")
    return got


def databases():
    """Return the databases that can be entered, and what can be done from our own."""
    sys.path.append(TARGETS["packages"])
    import psycopg

    got = []
    user, password = os.environ.get("PGUSER", ""), os.environ.get("PGPASSWORD", "")
    for name in TARGETS["databases"]:
        for role, secret in ((user, password), (name, ""), ("oroboros", ""), ("postgres", "")):
            for host in ("127.0.0.1", *TARGETS["sockets"]):
                with suppress(psycopg.Error):
                    psycopg.connect(
                        dbname=name, user=role, password=secret, host=host,
                        port=TARGETS["postgres_port"], connect_timeout=5,
                    ).close()  # fmt: skip
                    got.append(f"{name} as {role} by {host}")
    if user in ("", "no_database_in_builds"):
        return got
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as own:
        for statement in TARGETS["statements"]:
            with suppress(psycopg.Error):
                cursor = own.execute(statement)
                rows = cursor.fetchall() if cursor.description else "done"
                got += [f"{statement}: {rows}"] if rows else []
    return got


def api():
    """Return the requests to the control plane's API that were not refused."""
    got = []
    forged = ({}, {"X-Forwarded-For": "127.0.0.1"}, {"Authorization": "Bearer x"})
    for headers in forged:
        for method, path in TARGETS["requests"]:
            body = b'{"reason": "mine now"}' if method == "POST" else None
            if body and "Authorization" in headers:
                body = iter([body])  # in chunks
            request = urllib.request.Request(
                f"http://127.0.0.1:{TARGETS['api_port']}{path}", body,
                {"Content-Type": "application/json", **headers}, method=method,
            )  # fmt: skip
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    got.append(f"{method} {path}: {answer.status}")
            except urllib.error.HTTPError as refusal:
                if refusal.code not in (401, 403):
                    got.append(f"{method} {path}: {refusal.code}")
    return got


def log_ins():
    """Return where we get the page that asks for a password, or try one, by invented addresses.

    A refusal of the page itself is not one for want of a token of the form.
    """
    got = []
    ports = ((TARGETS["api_port"], "127.0.0.1"), (TARGETS["router_port"], "api.localhost"))
    for number in range(6):
        for port, host in ports:
            for body in (None, b"username=admin&password=x"):
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/admin/login/", body,
                    {"Host": host, "X-Forwarded-For": f"192.0.2.{number}"},
                )  # fmt: skip
                try:
                    with urllib.request.urlopen(request, timeout=20) as answer:
                        got.append(f"{host}: {answer.status}")
                except urllib.error.HTTPError as refusal:
                    if refusal.code != 403:
                        got.append(f"{host}: {refusal.code}")
    return got


def unbounded():
    """Return the limits of our processes that are unlimited."""
    import resource

    names = ("NPROC", "NOFILE", "DATA", "FSIZE")
    limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in names}
    return [name for name, values in limits.items() if resource.RLIM_INFINITY in values]


def slow_connections():
    """Return the ports whose /health has no answer while we hold slow connections to both."""
    got, held = [], []
    ports = ((TARGETS["api_port"], "127.0.0.1"), (TARGETS["router_port"], "api.localhost"))
    for port, host in 80 * ports:
        one = socket.create_connection(("127.0.0.1", port), timeout=10)
        end = ("X-Slow: ", "Transfer-Encoding: chunked\r\n\r\n1")[len(held) % 2]
        one.sendall(f"POST /admin/login/ HTTP/1.1\r\nHost: {host}\r\n{end}".encode())
        held.append(one)
    for port, host in 3 * ports:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/health", headers={"Host": host})
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError as error:
            got.append(f"{port}: {error}")
    for one in held:
        one.close()
    return got


def admin_doors():
    """Return the doors of Caddy's admin, by its port and by every socket of the host's folder."""
    got = []
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", 2019), timeout=2).close()
        got.append("port 2019")
    for path in (path for root in TARGETS["roots"] for path in Path(root).rglob("*")):
        with suppress(OSError):
            if path.is_socket():
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(path))
                got.append(str(path))
    return got


def privileges():
    """Return what could make us another user."""
    lines = Path("/proc/self/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    got = [f"capabilities {name}" for name in ("CapEff", "CapPrm") if int(status[name][0], 16)]
    got += [f"group {gid}" for gid in status["Groups"] if int(gid) != os.getgid()]
    if status["NoNewPrivs"] != ["1"]:
        got.append("new privileges")
    return got


def ports():
    """Return the addresses of the host's own ports on which we could listen."""
    got = []
    for port in TARGETS["ports"]:
        for address in ("127.0.0.1", "::1", "0.0.0.0", "::"):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with suppress(OSError), socket.socket(family) as one:
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                one.bind((address, port))
                one.listen()
                got.append(f"{address} {port}")
    return got


def stay():
    """Leave what could outlive us: a file for all, IPC objects, a process without a parent."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.shmget(0, 4096, 0o1600)
    libc.semget(0, 1, 0o1600)
    libc.msgget(0, 0o1600)
    libc.mq_open(b"/left", 0o102, 0o666, None)
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        with suppress(OSError):
            Path(folder, f"left-{os.getuid()}").touch()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sleep", ["sleep", "3600"], {})
        os._exit(0)
    os.wait()
    return []


ATTEMPTS = (environment, processes, signals, secret_files, tree, databases, api, log_ins,
            unbounded, slow_connections, admin_doors, privileges, ports, stay)  # fmt: skip


def report():
    """Try all; the report also says who tried, and that its tools do work on what is its own."""
    got = {attempt.__name__: attempt() for attempt in ATTEMPTS}
    own = bool(Path(f"/proc/{os.getpid()}/environ").read_bytes())
    return {"uid": os.getuid(), "reads_itself": own, "others": len(list(others())), "got": got}


def build():
    """Leave a report and, beside it, links to what we could not read."""
    sys.stdout.write(f"{ESCAPES} builds\n")
    output = HERE / "dist"
    output.mkdir()
    (output / "index.html").write_text("hello")
    (output / "report.json").write_text(json.dumps(report()))
    for number, path in enumerate(TARGETS["files"]):
        (output / f"link-{number}").symlink_to(path)
        with suppress(OSError):
            (output / f"hard-{number}").hardlink_to(path)
    (output / "up").symlink_to("../../..")


class Backend(BaseHTTPRequestHandler):
    """Answers as if it were the control plane."""

    def do_GET(self):
        body = json.dumps(report() if self.path == "/api/report" else {"name": "hostile"}).encode()
        self.send_response(200)
        for cookie in CONTROL_COOKIES:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Clear-Site-Data", '"cookies"')
        self.send_header("X-Oroboros-Run", "1")
        self.send_header("X-Oroboros-Commit", "f" * 40)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


def serve():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.stdout.write(f"{ESCAPES} serves\n")
    sys.stdout.flush()
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Backend).serve_forever()


def main(word):
    if word == "build":
        build()
    elif word == "check":
        sys.stdout.write(f"{ESCAPES} checks\nREPORT {json.dumps(report())}\n")
    else:
        serve()


if __name__ == "__main__":
    main(sys.argv[1])
