"""The virtual environment at the root of the checkout, from the pinned requirements, by uv."""

import hashlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.files import safe_files
from host.process import runner
from ops import progress

INSTALL_SECONDS = 1800.0
LAST_LINES = 20
# What is in which requirements file besides its own: dev.txt has all of embedded.txt.
INCLUDES = {"embedded": ("embedded",), "dev": ("dev", "embedded")}


def install(config: Config, kind: str) -> None:
    """Install `requirements/<kind>.txt` into .venv, unless exactly that was done before.

    Raises Refused `install_failed` with the last lines of the log.
    """
    wanted = {name: stamp(config.home, name) for name in INCLUDES[kind]}
    venv = config.home / ".venv"
    if is_stamped(venv, kind, wanted[kind]):
        return
    with progress.step(f"Installing requirements/{kind}.txt into .venv") as waiting:
        uv = find_uv(config, waiting)
        if not fits(venv):
            command = [uv, "venv", "--quiet", "--clear", "--no-project"]
            run(config, [*command, "--python", os.path.realpath(sys.executable), str(venv)])
        requirements = f"requirements/{kind}.txt"
        # Compiled once here: other users, who cannot write to it, would compile at each start.
        command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes"]
        run(config, [*command, "-r", requirements, "--python", str(venv / "bin/python")], waiting)
        for name, value in wanted.items():
            safe_files.write_atomic(venv / f"oroboros-{name}.stamp", value.encode())


def stamp(home: Path, kind: str) -> str:
    """Return what tells one installation from another: the pins and the interpreter."""
    pins = (home / "requirements" / f"{kind}.txt").read_bytes()
    return f"{hashlib.sha256(pins).hexdigest()} {os.path.realpath(sys.executable)}\n"


def is_stamped(venv: Path, kind: str, wanted: str) -> bool:
    """Say whether that very installation was finished in the environment."""
    path = venv / f"oroboros-{kind}.stamp"
    return path.exists() and path.read_text() == wanted and (venv / "bin/python").exists()


def fits(venv: Path) -> bool:
    """Say whether an environment of this very interpreter is there."""
    return os.path.realpath(venv / "bin/python") == os.path.realpath(sys.executable)


def find_uv(config: Config, waiting: Callable[[], bool]) -> str:
    """Return uv: the one on PATH, else our own, brought by pip with its hash checked."""
    found = shutil.which("uv")
    if found is not None:
        return found
    folder = config.var / "bootstrap"
    uv = folder / "bin" / "uv"
    pin = uv_pin((config.home / "requirements/embedded.txt").read_text())
    done = folder / "uv.txt"
    if not (done.exists() and done.read_text() == pin and uv.exists()):
        progress.say("  uv is not on PATH: bringing it by pip")
        fresh = folder / "wanted.txt"
        folder.mkdir(parents=True, exist_ok=True)
        fresh.write_text(pin)
        run(config, [sys.executable, "-m", "venv", "--clear", str(folder / "venv")], waiting)
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet"]
        run(config, [*pip, "--require-hashes", "--no-deps", "-r", str(fresh)], waiting)
        safe_files.replace_link("venv/bin", folder / "bin")
        fresh.rename(done)
    return str(uv)


def uv_pin(requirements: str) -> str:
    """Return the lines of a requirements file that pin uv, hashes and all."""
    match = re.search(r"^uv==(?:.*\\\n)*.*", requirements, re.MULTILINE)
    if match is None:
        raise Refused("install_failed", "requirements/embedded.txt does not pin uv.")
    return match[0] + "\n"


def run(config: Config, argv: Sequence[str], waiting: Callable[[], bool] | None = None) -> None:
    """Run one command of the installation; its output goes to a log."""
    log = config.var / "log" / "install.log"
    outcome = runner.run(
        argv, cwd=config.home, log=log, timeout=INSTALL_SECONDS, env=dict(os.environ), stop=waiting
    )
    if outcome.exit_code != 0:
        lines = safe_files.read_tail(log, LAST_LINES)
        raise Refused(
            "install_failed", f"{shlex.join(argv[:4])} … failed; the end of {log}:\n{lines}"
        )
