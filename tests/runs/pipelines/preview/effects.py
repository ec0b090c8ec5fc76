"""What a guard must not have done before it refused, as the interpreter itself reports it."""

import gc
import os
import sys
import threading
from contextlib import contextmanager

EXECUTES = {
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.kill",
    "os.posix_spawn",
    "os.system",
}
WRITES = {
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
    "os.utime",
}
SPEAKS = {"socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto"}
FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_seen = None
_thread = None


def _hear(event, arguments):
    if _seen is None or threading.get_ident() != _thread:  # threads of earlier tests may still end
        return
    if _opens_for_writing(event, arguments) or event in EXECUTES | WRITES | SPEAKS:
        _seen.append((event, *arguments[:1]))


def _opens_for_writing(event, arguments):
    """Whether a path is opened; an object around a descriptor opens none a second time."""
    if event != "open" or isinstance(arguments[0], int):
        return False
    return isinstance(arguments[2], int) and bool(arguments[2] & FLAGS)


sys.addaudithook(_hear)


@contextmanager
def none():
    """Fail if the body executes, writes, signals or connects to anything."""
    global _seen, _thread
    _thread = threading.get_ident()
    gc.disable()  # objects of earlier tests may remove their files when they are collected
    _seen = seen = []
    try:
        yield
    finally:
        _seen = None
        gc.enable()
    # What is imported for the first time is compiled into its cache.
    effects = [one for one in seen if "__pycache__" not in str(one)]
    assert not effects, effects
