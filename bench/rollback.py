"""Measures a rollback, from the command until the old release serves, against its floor.

    python bench/rollback.py [times]

The floor is the start of the old release's backend until its first 200, on another port; no
rollback can be faster. `call` calls the function in a running process, `shell` is
./scripts/rollback.sh while the API and the worker run, and `alone` is `manage.py rollback`, which
needs neither.
"""

import contextlib
import http.client
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from arguments import parse_one

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

OFFSET = 15000  # beside a stack that runs on the usual ports


def main(times: int) -> None:
    from tests import environment  # noqa: F401 — starts a PostgreSQL for this process

    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "oroboros.settings",
        "OROBOROS_PORT_OFFSET": str(OFFSET),
        "DEPLOY_DRAIN_SECONDS": "0",
    }
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from host.units import managers
    from tests.releases.application import Repo

    call_command("migrate", verbosity=0)
    config = settings.OROBOROS
    repo = Repo(config)
    try:
        with running_services(config):
            measure(config, repo, times)
    finally:
        for unit in managers.get_manager(config).list_names():
            managers.get_manager(config).stop(unit)


def measure(config, repo, times: int) -> None:
    # Two releases in turn, so that each rollback has another one to go to.
    releases = [ship(config, repo.commit(version)) for version in ("one", "two")]
    floor = [measure_start(config, releases[n % 2]) for n in range(times)]
    print(f"floor    {format_spread(floor)}   the backend's start to its first 200")
    for name, roll_back in (("call", call), ("shell", run_script), ("alone", run_command)):
        seconds = [measure_rollback(config, releases[n % 2], roll_back) for n in range(times)]
        above = statistics.median(seconds) - statistics.median(floor)
        print(f"{name:8} {format_spread(seconds)}   {above:+.3f} s above the floor")


def format_spread(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s"


def ship(config, commit):
    from releases.deployments.deploy_commit import deploy_commit

    return deploy_commit(config, commit, actor="bench", reason="a measurement")[0]


def measure_start(config, release) -> float:
    """Return the seconds that the release's backend takes to its first 200, on another port."""
    from host.units import managers
    from releases.production import colours
    from tests.environment import free_port

    unit = colours.make_unit(config, release, "blue")
    port = free_port()
    unit = replace(unit, name="floor", port=port, env={**unit.env, "PORT": str(port)})
    started_at = time.monotonic()
    managers.get_manager(config).start(unit)
    while request(port, "/health")[0] != 200:
        time.sleep(0.005)
    seconds = time.monotonic() - started_at
    managers.get_manager(config).stop("floor")
    return seconds


def measure_rollback(config, release, roll_back) -> float:
    """Return the seconds until the surface names the old release's commit."""
    started_at = time.monotonic()
    thread = threading.Thread(target=roll_back, args=(config, release))
    thread.start()
    while request(config.web_port, "/health")[1] != release.commit_sha:
        assert time.monotonic() - started_at < 60, "the rollback does not end"
        time.sleep(0.005)
    seconds = time.monotonic() - started_at
    thread.join()
    return seconds


def call(config, release) -> None:
    from releases.deployments import deploy_and_rollback

    deploy_and_rollback.roll_back(config, release.pk, actor="bench", reason="a measurement")


def run_script(config, release) -> None:
    _run(["-m", "releases"], release)


def run_command(config, release) -> None:
    _run(["manage.py", "rollback"], release)


def _run(command: list[str], release) -> None:
    subprocess.run(
        [sys.executable, *command, release.pk, "--reason", "a measurement"],
        cwd=HOME,
        env={**os.environ, "OROBOROS_ONLY": "releases"},  # as in scripts/rollback.sh
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def request(port: int, path: str) -> tuple[int, str | None]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as link:
        try:
            link.request("GET", path)
            response = link.getresponse()
        except OSError:
            return 0, None
        return response.status, response.headers.get("X-Oroboros-Commit")


@contextlib.contextmanager
def running_services(config):
    """Run main's surface, the API and the worker in the body of the with statement."""
    from slots.runtime import surface

    web = {**os.environ, **surface.build_environment(config, "main")}
    python = [sys.executable, "-m"]
    started = [
        start_service(surface.build_command(config), web),
        start_service([*python, "gunicorn", "-c", "infra/gunicorn.conf.py"], os.environ),
        start_service([sys.executable, "manage.py", "run_worker"], os.environ),
    ]
    try:
        # Before the first release main's surface answers 503.
        for port, wanted in (
            (config.web_port, 503),
            (config.api_port, 200),
            (config.worker_port, 200),
        ):
            while request(port, "/health")[0] != wanted:
                time.sleep(0.05)
        yield
    finally:
        for service in started:
            service.terminate()
            service.wait()


def start_service(command: list[str], env) -> subprocess.Popen:
    return subprocess.Popen(command, cwd=HOME, env=dict(env), stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main(parse_one(__doc__, "times", 10, "rollbacks of each kind"))
