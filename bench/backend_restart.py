"""Measures a restart of a slot's backend by the runbook's command, against the bare process.

    python bench/backend_restart.py [times]

The floor is a restart of the same process without Oroboros: SIGTERM until it exits, then exec until
its first 200. `restart` is ./scripts/preview-backend-runtime.sh restart; the last line of output is
the difference.
"""

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from arguments import parse_one

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

from host import config as configuration  # noqa: E402
from slots.runtime import backend  # noqa: E402
from slots.runtime.spec import Spec  # noqa: E402

OFFSET = 14200  # beside a stack that runs on the usual ports
PAUSE_SECONDS = 0.001
ABOVE_SECONDS = 0.15
# The smallest application, whose own start does not hide the difference.
BACKEND = """\
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Backend:
    """The backend as a bare process on a port of its own."""

    argv: list[str]
    env: dict[str, str]
    port: int

    def start(self) -> subprocess.Popen[bytes]:
        """Start it and wait for its first 200."""
        process = subprocess.Popen(self.argv, env=self.env, stdin=subprocess.DEVNULL)
        while not is_healthy(self.port):
            time.sleep(PAUSE_SECONDS)
        return process


def main(times: int) -> bool:
    """Measure, print, and return whether a restart is within its bound."""
    with tempfile.TemporaryDirectory(prefix="oroboros-bench-") as folder:
        Path(folder).chmod(0o755)
        floor, restart = measure(Path(folder), times)
    differences = [ours - bare for ours, bare in zip(restart, floor, strict=True)]
    print(f"floor    {format_spread(floor)}")
    print(f"restart  {format_spread(restart)}")
    difference = statistics.median(differences)
    ratio = statistics.median(restart) / statistics.median(floor)
    print(
        f"above    {difference:+.3f} s at the median (bound {ABOVE_SECONDS}), "
        f"{ratio:.2f} of the floor"
    )
    return difference < ABOVE_SECONDS


def measure(folder: Path, times: int) -> tuple[list[float], list[float]]:
    """Restart the bare process and by the command in turns, so that both meet the same load."""
    environ = {
        "PATH": os.environ["PATH"],
        "OROBOROS_VAR": str(folder / "var"),
        "OROBOROS_ENV_DIR": str(folder / "env"),
        "OROBOROS_RUNTIME_LOG_DIR": str(folder / "logs"),
        "OROBOROS_PORT_OFFSET": str(OFFSET),
        # `restart` runs the database guard, which connects only for a spec that has a database: no
        # server needs to run there.
        "PREVIEW_ADMIN_DATABASE_URL": "postgresql://bench@127.0.0.1:1/postgres",
        "PREVIEW_BACKEND_DATABASE_URL_TEMPLATE": "postgresql://127.0.0.1:1/{db_name}",
    }
    config = configuration.load(environ)
    slot = config.slot("preview-1")
    program = folder / "backend.py"
    program.write_text(BACKEND)
    argv = [shutil.which("python3", path="/usr/bin:/bin") or sys.executable, str(program)]
    env = {"PORT": str(slot.backend_port)}
    spec = Spec(run_id="bench", commit="0" * 40, fence=1, argv=tuple(argv), cwd=folder)
    backend.write_spec(config, slot, spec, env)
    script = [str(HOME / "scripts/preview-backend-runtime.sh"), "restart", "--slot", "preview-1"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bare = Backend(argv, {"PORT": str(port)}, port)
    process = bare.start()
    floor, restart = [], []
    try:
        run_script(script, environ)  # the first run compiles the modules
        for _ in range(times):
            started_at = time.monotonic()
            process.terminate()
            process.wait()
            process = bare.start()
            floor.append(time.monotonic() - started_at)
            started_at = time.monotonic()
            run_script(script, environ)
            restart.append(time.monotonic() - started_at)
    finally:
        process.kill()
        process.wait()
        backend.stop(config, slot)
    return floor, restart


def run_script(argv: list[str], environ: dict[str, str]) -> None:
    process = subprocess.run(argv, env=environ, capture_output=True, text=True)
    result = json.loads(process.stdout)
    if not result["ok"] or result["health"] != "healthy":
        raise SystemExit(f"the restart failed: {result}")


def is_healthy(port: int) -> bool:
    """Return whether GET /health answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def format_spread(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s"


if __name__ == "__main__":
    sys.exit(0 if main(parse_one(__doc__, "times", 15, "restarts of each")) else 1)
