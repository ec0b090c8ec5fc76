"""Measures GET /health while slow clients hold connections, and while fifty clients read at once.

    python bench/slow_clients.py [seconds]

Sixty clients of the API's own port and sixty of the router send a head or a body byte by byte, at
the same time; then as many do not read a large answer: /health has to answer within a second on
both. Then fifty clients request pages and the API as fast as they can, directly, then through the
router: the median of /health has to stay within five times its median at rest.
"""

import contextlib
import http.client
import itertools
import multiprocessing
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event

from api_server import api, database, router
from arguments import parse_one

CLIENTS, READERS = 60, 50
SECONDS, REST_SECONDS = 60.0, 5.0
LIMIT_SECONDS, RATIO = 1.0, 5.0
HEAD = "POST /admin/login/ HTTP/1.1\r\nHost: {host}\r\n"
STARTS = (HEAD + "X-Slow: ", HEAD + "Content-Length: 50000\r\n\r\n")
READ = ("/admin/login/", "/api/slots", "/api/runs")
LARGE = "GET /api/runs HTTP/1.1\r\nHost: {host}\r\n\r\n"
Address = tuple[int, str]  # the port and the Host header
Work = Callable[[Address, Event, int], None]


def main(seconds: float) -> bool:
    """Measure both addresses; return whether all is within the bounds."""
    with database(), api() as port, router(port) as router_port:
        addresses = {
            "directly": (port, f"127.0.0.1:{port}"),
            "through the router": (router_port, "api.example.com"),
        }
        results = [measure_slow(addresses, work, seconds) for work in (send_slowly, read_nothing)]
        results += [measure_busy(name, one, seconds / 4) for name, one in addresses.items()]
    return all(results)


def measure_slow(addresses: dict[str, Address], work: Work, seconds: float) -> bool:
    """Print the longest time of GET /health at each address beside the slow clients of all."""
    with contextlib.ExitStack() as stack:
        for address in addresses.values():
            stack.enter_context(clients(work, address, CLIENTS))
        times = probe(list(addresses.values()), seconds)
    for name, found in zip(addresses, times, strict=True):
        print(
            f"/health {name}: {len(found)} answers, at most {max(found) * 1000:.0f} ms"
            f" beside {CLIENTS} clients of each port that {work.__name__}"
        )
    return max(map(max, times)) < LIMIT_SECONDS


def measure_busy(name: str, address: Address, seconds: float) -> bool:
    """Print the median time of GET /health at rest and beside many readers."""
    rest = statistics.median(*probe([address], REST_SECONDS))
    with clients(read, address, READERS):
        busy = statistics.median(*probe([address], seconds))
    print(
        f"/health {name}: median {rest * 1000:.1f} ms at rest, {busy * 1000:.1f} ms"
        f" ({busy / rest:.1f} times) beside {READERS} readers"
    )
    return busy < RATIO * rest


def probe(addresses: list[Address], seconds: float) -> list[list[float]]:
    """Request /health of each in turn until `seconds` are over; return the times of each."""
    times: list[list[float]] = [[] for _ in addresses]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for found, address in zip(times, addresses, strict=True):
            started_at = time.monotonic()
            assert request(address, "/health") == 200
            found.append(time.monotonic() - started_at)
            time.sleep(0.02)
    return times


def request(address: Address, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", address[0], timeout=30)
    connection.request("GET", path, headers={"Host": address[1]})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


@contextlib.contextmanager
def clients(work: Work, address: Address, count: int) -> Iterator[None]:
    """Have `count` threads of another process do the work while the body of the with runs."""
    is_over = multiprocessing.Event()
    process = multiprocessing.Process(target=repeat, args=(work, address, count, is_over))
    process.start()
    time.sleep(1)
    yield
    is_over.set()
    process.join()


def repeat(work: Work, address: Address, count: int, is_over: Event) -> None:
    """Do the work again and again in each of `count` threads until it is over."""

    def run(number: int) -> None:
        while not is_over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                work(address, is_over, number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def send_slowly(address: Address, is_over: Event, number: int) -> None:
    with socket.create_connection(("127.0.0.1", address[0]), timeout=10) as client:
        client.sendall(STARTS[number % len(STARTS)].format(host=address[1]).encode())
        while not is_over.wait(0.2):
            client.sendall(b"a")


def read_nothing(address: Address, is_over: Event, number: int) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(("127.0.0.1", address[0]))
        for _ in itertools.repeat(None, 200):
            client.sendall(LARGE.format(host=address[1]).encode())
        is_over.wait(10)


def read(address: Address, is_over: Event, number: int) -> None:
    for path in READ:
        request(address, path)


if __name__ == "__main__":
    sys.exit(not main(parse_one(__doc__, "seconds", SECONDS, "how long the clients are slow")))
