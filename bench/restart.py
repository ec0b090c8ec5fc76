"""A restart of a slot's backend by the runbook's command, beside its floor.

    python bench/restart.py [times]

The floor is the same backend by hand, in the same run: SIGTERM to its exit, then exec to its first
200. `restart` is ./scripts/preview-backend-runtime.sh restart; what it adds is the last line.
"""

import argparse
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

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

from host import config as configuration  # noqa: E402
from slots.runtime import backend  # noqa: E402
from slots.runtime.spec import Spec  # noqa: E402

OFFSET = 14200
PAUSE_SECONDS = 0.001
ABOVE_SECONDS = 0.15
# An application of the smallest kind: what it costs itself must not hide what we add.
BACKEND = """\
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""


@dataclass(frozen=True)
class Backend:
    """The backend, started by hand on a port of its own."""

    argv: list[str]
    env: dict[str, str]
    port: int

    def start(self) -> subprocess.Popen[bytes]:
        """Start it and wait for its first 200."""
        process = subprocess.Popen(self.argv, env=self.env, stdin=subprocess.DEVNULL)
        while not answers(self.port):
            time.sleep(PAUSE_SECONDS)
        return process


def main() -> bool:
    """Measure, print, and say whether a restart is within its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("times", type=int, nargs="?", default=15)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(prefix="oroboros-bench-") as folder:
        Path(folder).chmod(0o755)
        floor, ours = measure(Path(folder), times)
    above = [took - beneath for took, beneath in zip(ours, floor, strict=True)]
    print(f"floor    {spread(floor)}")
    print(f"restart  {spread(ours)}")
    middle = statistics.median(above)
    ratio = statistics.median(ours) / statistics.median(floor)
    print(
        f"above    {middle:+.3f} s at the median (bound {ABOVE_SECONDS}), {ratio:.2f} of the floor"
    )
    return middle < ABOVE_SECONDS


def measure(folder: Path, times: int) -> tuple[list[float], list[float]]:
    """Restart by hand and by the command in turns, so that both meet the same machine."""
    environ = {
        "PATH": os.environ["PATH"],
        "OROBOROS_VAR": str(folder / "var"),
        "OROBOROS_ENV_DIR": str(folder / "env"),
        "OROBOROS_RUNTIME_LOG_DIR": str(folder / "logs"),
        "OROBOROS_PORT_OFFSET": str(OFFSET),
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
    by_hand = Backend(argv, {"PORT": str(port)}, port)
    process = by_hand.start()
    floor, ours = [], []
    try:
        command(script, environ)  # the first one compiles our modules
        for _ in range(times):
            begun = time.monotonic()
            process.terminate()
            process.wait()
            process = by_hand.start()
            floor.append(time.monotonic() - begun)
            begun = time.monotonic()
            command(script, environ)
            ours.append(time.monotonic() - begun)
    finally:
        process.kill()
        process.wait()
        backend.stop(config, slot)
    return floor, ours


def command(argv: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(argv, env=environ, capture_output=True, text=True)
    said = json.loads(done.stdout)
    if not said["ok"] or said["health"] != "healthy":
        raise SystemExit(f"the restart failed: {said}")


def answers(port: int) -> bool:
    """Say whether a GET is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def spread(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s"


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
