"""A hostile program: it listens on addresses of a port, where no mark and no parent leads to it.

    python foreign_listener.py <port> again|once|bound|connected|passed|sent <file> <address> ...

With "again" a process of another session starts it again as often as it ends, with "bound" it does
not listen, and with "connected" it connects from the port, to the port after the address's @. With
"passed" it listens, and passes the socket to the process that listens on the Unix socket "passed",
with "sent" without waiting until it was received.
The pids that listened are appended to the file.
"""

import os
import socket
import sys
import time
from pathlib import Path


def detach():
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)


def fork_again(is_repeated):
    while os.fork():
        os.wait()
        if not is_repeated:
            os._exit(0)
    os.setsid()


def connect(address, port):
    address, _, peer_port = address.partition("@")
    one = socket.socket()
    one.bind((address, port))
    one.connect((address, int(peer_port)))
    return one


def listen(address, port, is_listening=True):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind((address, port))
    if is_listening:
        one.listen()
    return one


def pass_on(one, is_received):
    with socket.socket(socket.AF_UNIX) as link:
        link.connect("passed")
        socket.send_fds(link, [b"1"], [one.fileno()])
        if is_received:
            link.recv(1)


if __name__ == "__main__":
    port, word, pids, *addresses = sys.argv[1:]
    detach()
    fork_again(word == "again")
    if word == "connected":
        sockets = [connect(address, int(port)) for address in addresses]
    else:
        sockets = [listen(address, int(port), word != "bound") for address in addresses]
    if word in ("passed", "sent"):
        pass_on(sockets[0], word == "passed")
    with Path(pids).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)
