"""A way out of the sandbox's own network for package installers: an HTTP proxy, for CONNECT only.

python -m tests.systemd.way_out <pid in the sandbox> <port>: it listens within, on loopback, and
connects without.
"""

import ctypes
import os
import socket
import socketserver
import sys
import threading
from contextlib import suppress

CLONE_NEWNET = 0x40000000
CHUNK = 65536


def enter(namespace):
    """Have this thread use that network; the file of it is closed."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.close(namespace)


def network(process):
    return os.open(f"/proc/{process}/ns/net", os.O_RDONLY)


def pump(source, target):
    with suppress(OSError):  # either end may hang up
        while chunk := source.recv(CHUNK):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


class Tunnel(socketserver.StreamRequestHandler):
    def handle(self):
        _, place, _ = self.rfile.readline().decode().split(" ", 2)
        while self.rfile.readline().strip():
            pass
        host, _, port = place.rpartition(":")
        with socket.create_connection((host, int(port)), 30) as beyond:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=pump, args=(beyond, self.connection))
            back.start()
            pump(self.connection, beyond)
            back.join()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, pid, port):
        super().__init__(("127.0.0.1", port), Tunnel, bind_and_activate=False)
        self.socket.close()
        ours = network("thread-self")
        enter(network(pid))  # only for the listening socket
        self.socket = socket.create_server(("127.0.0.1", port))
        enter(ours)


if __name__ == "__main__":
    Server(int(sys.argv[1]), int(sys.argv[2])).serve_forever()
