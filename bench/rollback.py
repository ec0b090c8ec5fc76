"""A rollback, from the command to the old release serving, beside its floor.

    python bench/rollback.py [times]

The floor is the start of the old release's backend to its first 200, measured in the same run on
another port; no rollback can be faster. `call` is the work in a process that runs already, `shell`
what ./scripts/rollback.sh does while API and worker run, `alone` what it does without them.
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

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

from tests import environment  # noqa: E402 — starts a PostgreSQL of our own

OFFSET = 15000


def main(times: int) -> None:
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
        with running(config):
            measure(config, repo, times)
    finally:
        for unit in managers.manager(config).names():
            managers.manager(config).stop(unit)


def measure(config, repo, times: int) -> None:
    releases = [ship(config, repo.commit(version)) for version in ("one", "two")]
    floor = [start(config, releases[n % 2]) for n in range(times)]
    print(f"floor    {spread(floor)}   the backend's start to its first 200")
    for name, roll in (("call", call), ("shell", shell), ("alone", alone)):
        took = [until_served(config, releases[n % 2], roll) for n in range(times)]
        above = statistics.median(took) - statistics.median(floor)
        print(f"{name:8} {spread(took)}   {above:+.3f} s above the floor")


def spread(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s"


def ship(config, commit):
    from releases.deployments.manual_deploy import ship_commit

    return ship_commit(config, commit, actor="bench", reason="a measurement")[0]


def start(config, release) -> float:
    """Start the release's backend on a port of its own and ask until it answers 200."""
    from host.units import managers
    from releases.production import app

    unit = app.unit(config, release, "blue")
    port = environment.free_port()
    unit = replace(unit, name="floor", port=port, env={**unit.env, "PORT": str(port)})
    begun = time.monotonic()
    managers.manager(config).start(unit)
    while ask(port, "/health")[0] != 200:
        time.sleep(0.005)
    took = time.monotonic() - begun
    managers.manager(config).stop("floor")
    return took


def until_served(config, release, roll) -> float:
    """Begin a rollback; return when the surface first answers for its release."""
    begun = time.monotonic()
    work = threading.Thread(target=roll, args=(config, release))
    work.start()
    while ask(config.web_port, "/health")[1] != release.commit_sha:
        assert time.monotonic() - begun < 60, "the rollback does not come to an end"
        time.sleep(0.005)
    took = time.monotonic() - begun
    work.join()
    return took


def call(config, release) -> None:
    from releases.deployments import operations

    operations.rollback(config, release.pk, actor="bench", reason="a measurement")


def shell(config, release) -> None:
    _run(["-m", "releases"], release)


def alone(config, release) -> None:
    _run(["manage.py", "rollback"], release)


def _run(command: list[str], release) -> None:
    subprocess.run(
        [sys.executable, *command, release.pk, "--reason", "a measurement"],
        cwd=HOME,
        env={**os.environ, "OROBOROS_ONLY": "releases"},  # as the script says
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def ask(port: int, path: str) -> tuple[int, str | None]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as link:
        try:
            link.request("GET", path)
            answer = link.getresponse()
        except OSError:
            return 0, None
        return answer.status, answer.headers.get("X-Oroboros-Commit")


@contextlib.contextmanager
def running(config):
    """Production's Caddy, the API and the worker."""
    from slots.runtime import surface

    web = {**os.environ, **surface.environment(config, "main")}
    python = [sys.executable, "-m"]
    started = [
        start_service(surface.command(config), web),
        start_service([*python, "gunicorn", "-c", "infra/gunicorn.conf.py"], os.environ),
        start_service([sys.executable, "manage.py", "run_worker"], os.environ),
    ]
    try:
        for port in (config.web_port, config.api_port, config.worker_port):
            while ask(port, "/health")[0] != 200:
                time.sleep(0.05)
        yield
    finally:
        for service in started:
            service.terminate()
            service.wait()


def start_service(command: list[str], env) -> subprocess.Popen:
    return subprocess.Popen(command, cwd=HOME, env=dict(env), stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
