"""A hostile program: it listens on addresses of a port, where no mark and no parent leads to it.

    python foreign_listener.py <port> again|once <file> <address> ...

With "again" a process of another session starts it again as often as it ends. The pids that
listened are appended to the file.
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


def listen(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind((address, port))
    one.listen()
    return one


if __name__ == "__main__":
    port, word, pids, *addresses = sys.argv[1:]
    detach()
    fork_again(word == "again")
    sockets = [listen(address, int(port)) for address in addresses]
    with Path(pids).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)
