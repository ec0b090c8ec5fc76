"""Measures the admin's pages with many rows, what they send, and GET /health beside open pages.

    python bench/admin_pages.py [rounds]

The medians of the rounds with 50 runs and 500 events, and with 100,000 runs and 1,000,000 events,
through gunicorn: within 1.5 times. Then Chromium loads the dashboard with an empty cache: at most
400 kB, and leaves the page of a ready run open for a minute: at most 2 MB an hour. Then thirty
pages of runs are open, three times for ten seconds, which ask for news as often as theirs do: the
median of /health has to stay within twice its median at rest, which is measured in between.
"""

import http.client
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Event

from api_server import NO_DISK, api, database, manage
from arguments import parse_one

RUNS, EVENTS_OF_RUN = (50, 100_000), 10
LIMIT = 1.5
COLD_BYTES, HOUR_BYTES, OPEN_SECONDS = 400_000, 2_000_000, 60
OPEN_PAGES, PAGE_SECONDS, HEALTH_LIMIT = 30, 4.0, 2.0
HEALTH_ROUNDS, HEALTH_SECONDS, HEALTH_PAUSE_SECONDS = 3, 10.0, 0.02
LISTS = ("runs/run/", "runs/event/", "slots/lease/", "releases/release/", "slots/slot/")


def main(rounds: int) -> None:
    problems = []
    with database(NO_DISK):
        import django

        django.setup()
        manage("collectstatic", "--noinput", "-v0")
        cookie = log_in()
        ready = create_rows()
        with api() as port:
            client = make_client(port, cookie)
            addresses = ["/admin/", f"/admin/runs/run/{ready}/change/?live=1"]
            addresses += [f"/admin/{name}" for name in LISTS]
            fill(RUNS[0])
            few = {one: measure(client, one, rounds) for one in addresses}
            fill(RUNS[1] - RUNS[0])
            client = make_client(port, cookie)  # the connection was idle for too long
            many = {one: measure(client, one, rounds) for one in addresses}
            for one, seconds in few.items():
                ratio = many[one] / seconds
                print(f"{seconds * 1000:7.1f} ms {many[one] * 1000:7.1f} ms {ratio:5.2f}×  {one}")
                problems += [f"{one} is {ratio:.2f} times slower"] if ratio > LIMIT else []
            problems += measure_bytes(port, cookie, f"/admin/runs/run/{ready}/change/")
            problems += measure_open_pages(port, cookie, addresses[1])
    if problems:
        raise SystemExit("\n".join(problems))


def log_in() -> str:
    """Create an operator with a session; return its cookie's value."""
    from django.contrib.auth.models import Group, User
    from django.test import Client

    user = User.objects.create_user("bench", is_staff=True)
    user.groups.add(Group.objects.get_or_create(name="operator")[0])
    client = Client()
    client.force_login(user)
    return next(iter(client.cookies.values())).value


def create_rows() -> str:
    """Create a ready run with a slot, an ended run and a live release; return the first's id."""
    from tests.factories import EventFactory, LeaseFactory, ReleaseFactory, RunFactory, SlotFactory

    run = LeaseFactory(held=True, slot=SlotFactory(number=1), run__status="preview_ready").run
    ReleaseFactory(live=True)
    EventFactory(run=RunFactory(status="merged"))
    return str(run.pk)


def fill(runs: int) -> None:
    """Add copies of the ended run, one each five minutes, and of its event to each run without."""
    from runs.models import Event, Run

    at = "clock_timestamp() - n * interval '5 minutes'"
    commit = "md5(n::text) || repeat('0', 8)"
    own = {"id": "gen_random_uuid()", "created_at": at, "ended_at": at, "commit_sha": commit}
    insert(Run, own, "", runs)
    others = "CROSS JOIN runs_run AS run"
    only = "WHERE NOT EXISTS (SELECT FROM runs_event WHERE run_id = run.id)"
    insert(Event, {"at": "clock_timestamp()", "run_id": "run.id"}, others, EVENTS_OF_RUN, only)


def insert(
    model: type, fresh: dict[str, str], others: str, count: int, condition: str = ""
) -> None:
    """Insert copies of the oldest ended row of the table, whose `fresh` columns are their own."""
    from django.db import connection

    table = model._meta.db_table
    ended = "status = 'merged'" if table == "runs_run" else "kind = 'created'"
    columns = [one.column for one in model._meta.fields if one.column != "id" or "id" in fresh]
    values = ", ".join(fresh.get(column, f"one.{column}") for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} "
            f"FROM (SELECT * FROM {table} WHERE {ended} LIMIT 1) AS one {others} "
            f"CROSS JOIN generate_series(1, %s) AS n {condition}",
            [count],
        )
        # As autovacuum would in time; without it the planner expects the small tables.
        cursor.execute(f"VACUUM ANALYZE {table}")


def make_client(port: int, cookie: str) -> Callable[..., tuple[float, http.client.HTTPResponse]]:
    """Return a function that requests a page, and returns the seconds and the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def request(address: str, **headers: str) -> tuple[float, http.client.HTTPResponse]:
        own = {"Cookie": f"oroboros_session={cookie}", "Accept-Encoding": "gzip", **headers}
        started_at = time.perf_counter()
        connection.request("GET", address, headers=own)
        response = connection.getresponse()
        response.read()
        if response.status not in (200, 304):
            raise SystemExit(f"{address}: {response.status}")
        return time.perf_counter() - started_at, response

    return request


def measure(request: Callable[..., tuple[float, object]], address: str, rounds: int) -> float:
    """Return the median seconds of the page."""
    request(address)
    return statistics.median(request(address)[0] for _ in range(rounds))


def measure_bytes(port: int, cookie: str, run_page: str) -> list[str]:
    """Print what Chromium receives for the dashboard and an open page; return what is too much."""
    from playwright.sync_api import sync_playwright

    from tests.chromium import WIDE, launch_chromium

    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        context = browser.new_context(viewport=WIDE, base_url=f"http://127.0.0.1:{port}")
        page, sizes = context.new_page(), []
        devtools = context.new_cdp_session(page)
        devtools.send("Network.enable")
        devtools.on("Network.loadingFinished", lambda one: sizes.append(one["encodedDataLength"]))
        context.add_cookies(
            [{"name": "oroboros_session", "value": cookie, "url": f"http://127.0.0.1:{port}"}]
        )
        page.goto("/admin/", wait_until="networkidle")
        cold = sum(sizes)
        page.goto(run_page, wait_until="networkidle")
        sizes.clear()
        page.wait_for_timeout(OPEN_SECONDS * 1000)
        hour = sum(sizes) * 3600 / OPEN_SECONDS
        browser.close()
    print(f"cold dashboard {cold / 1000:.0f} kB, open run page {hour / 1e6:.2f} MB an hour")
    too_much = {"cold dashboard": cold > COLD_BYTES, "open run page": hour > HOUR_BYTES}
    return [f"{name}: too many bytes" for name, is_over in too_much.items() if is_over]


def measure_open_pages(port: int, cookie: str, address: str) -> list[str]:
    """Print the median of GET /health at rest and beside open pages; return a problem.

    Both alternately and in one rhythm: requests that follow at once find the server awake and take
    much less time, and what else the host does must slow down both.
    """
    rest, beside = [], []
    for _ in range(HEALTH_ROUNDS):
        rest += probe_health(port, cookie)
        with open_pages(port, cookie, address):
            beside += probe_health(port, cookie)
    rest_median = statistics.median(rest)
    ratio = statistics.median(beside) / rest_median
    text = f"/health {rest_median * 1000:.1f} ms at rest, {ratio:.2f} times"
    print(f"{text} beside {OPEN_PAGES} open pages")
    return [f"/health: {ratio:.2f} times"] if ratio > HEALTH_LIMIT else []


def probe_health(port: int, cookie: str) -> list[float]:
    """Return the seconds of each request for /health in HEALTH_SECONDS, on one connection."""
    request = make_client(port, cookie)
    request("/health")
    times, until = [], time.monotonic() + HEALTH_SECONDS
    while time.monotonic() < until:
        times.append(request("/health")[0])
        time.sleep(HEALTH_PAUSE_SECONDS)
    return times


@contextmanager
def open_pages(port: int, cookie: str, address: str) -> Iterator[None]:
    """Have the pages open meanwhile, in a process of their own: they must not slow down the probe.

    They ask for news at times of their own, as pages do that people opened one after the other.
    """
    spawning = multiprocessing.get_context("spawn")
    are_open, are_closed = spawning.Event(), spawning.Event()
    arguments = (port, cookie, address, are_open, are_closed)
    pages = spawning.Process(target=poll_pages, args=arguments)
    pages.start()
    try:
        if not are_open.wait(60):
            raise SystemExit("the pages were not opened within 60 s")
        yield
    finally:
        are_closed.set()
        pages.join()
    if pages.exitcode:
        raise SystemExit("a page could not be read")


def poll_pages(port: int, cookie: str, address: str, are_open: Event, are_closed: Event) -> None:
    """Open the pages within one interval, and have each ask for news until they are closed."""
    with ThreadPoolExecutor(OPEN_PAGES) as threads:
        polls = []
        for _ in range(OPEN_PAGES):
            polls.append(threads.submit(poll, port, cookie, address, are_closed))
            time.sleep(PAGE_SECONDS / OPEN_PAGES)
        are_open.set()
        for one in polls:
            one.result()


def poll(port: int, cookie: str, address: str, is_closed: Event) -> None:
    """Ask for news as live.js does."""
    etag: dict[str, str] = {}
    while not is_closed.is_set():
        # The server has closed the connection of the last time.
        response = make_client(port, cookie)(address, **etag)[1]
        etag = {"If-None-Match": response.headers["ETag"]}
        is_closed.wait(PAGE_SECONDS)


if __name__ == "__main__":
    main(parse_one(__doc__, "rounds", 20, "requests of each page"))
