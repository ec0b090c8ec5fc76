"""An HTTP proxy (CONNECT only) through which the sandbox reaches the network of this host.

    python -m tests.systemd.connect_proxy <pid in the sandbox> <port>

It listens on loopback in the sandbox's network namespace and connects from this host's.
"""

import ctypes
import os
import socket
import socketserver
import sys
import threading
from contextlib import suppress

CLONE_NEWNET = 0x40000000
CHUNK_BYTES = 65536


def enter_namespace(descriptor):
    """Move this thread to the network namespace of the open file, and close the file."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.close(descriptor)


def open_namespace(process):
    """Open the file of a process's network namespace."""
    return os.open(f"/proc/{process}/ns/net", os.O_RDONLY)


def copy_stream(source, target):
    with suppress(OSError):  # either end may close the connection
        while chunk := source.recv(CHUNK_BYTES):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


class Tunnel(socketserver.StreamRequestHandler):
    def handle(self):
        _, address, _ = self.rfile.readline().decode().split(" ", 2)
        while self.rfile.readline().strip():
            pass
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 30) as server:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=copy_stream, args=(server, self.connection))
            back.start()
            copy_stream(self.connection, server)
            back.join()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, pid, port):
        super().__init__(("127.0.0.1", port), Tunnel, bind_and_activate=False)
        self.socket.close()
        own = open_namespace("thread-self")
        # A socket keeps the namespace that it was created in: only the listener is the sandbox's.
        enter_namespace(open_namespace(pid))
        self.socket = socket.create_server(("127.0.0.1", port))
        enter_namespace(own)


if __name__ == "__main__":
    Server(int(sys.argv[1]), int(sys.argv[2])).serve_forever()
