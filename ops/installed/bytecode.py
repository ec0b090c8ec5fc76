"""The bytecode of this checkout's modules, which the installation compiles.

The units' users may not write to the checkout: without it each of their processes, and each command
that becomes the service user, would compile every module that it imports. A file of bytecode names
the time and the size of its source (PEP 552), so Python ignores that of an earlier version.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from host.errors import Refused
from host.process import runner

COMPILE_SECONDS = 300.0
HEADER_BYTES = 16
NOT_INSTALLED = frozenset({"tests"})


def list_packages(home: Path) -> list[Path]:
    """Return the folders of the packages that the units import."""
    found = (path.parent for path in home.glob("*/__init__.py"))
    return sorted(path for path in found if path.name not in NOT_INSTALLED)


def has_current(home: Path) -> bool:
    """Return whether each module has bytecode of its present source for this interpreter."""
    return all(map(is_current, _list_modules(home)))


def is_current(source: Path) -> bool:
    """Return whether Python would use the module's bytecode."""
    cached = importlib.util.cache_from_source(str(source), optimization="")
    try:
        with Path(cached).open("rb") as file:
            header = file.read(HEADER_BYTES)
    except FileNotFoundError:
        return False
    status = source.stat()
    values = (0, int(status.st_mtime), status.st_size)
    numbers = b"".join((value & 0xFFFFFFFF).to_bytes(4, "little") for value in values)
    return header == importlib.util.MAGIC_NUMBER + numbers


def compile_modules(home: Path) -> None:
    """Compile all modules, and remove the bytecode of those that an earlier version had.

    Raises Refused `install_failed` with the compiler's message.
    """
    packages = list_packages(home)
    for package in packages:
        for folder in list(package.rglob("__pycache__")):
            shutil.rmtree(folder)
    # In processes of their own, one for each processor. With SOURCE_DATE_EPOCH the default differs.
    options = ["-q", "-j", str(os.cpu_count() or 1), "--invalidation-mode", "timestamp"]
    argv = [sys.executable, "-I", "-m", "compileall", *options, *map(str, packages)]
    done = runner.capture(argv, cwd=home, timeout=COMPILE_SECONDS)
    if done.exit_code != 0:
        text = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise Refused("install_failed", f"The modules in {home} could not be compiled: {text}")


def _list_modules(home: Path) -> Iterator[Path]:
    for package in list_packages(home):
        yield from package.rglob("*.py")
