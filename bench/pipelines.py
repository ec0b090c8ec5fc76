"""Compares the two pipelines, commit to preview and approval to merge, with shell scripts.

    python bench/pipelines.py [guestbook|django|celery] [times]

The shell scripts do the same work. Both use a warm cache of installs and an application without
checks: the guestbook of `examples/`, which starts in a fifth of a second, or what Django's
`startproject` makes, on PostgreSQL. `celery` is Django with a Celery worker, beat and Redis: of it
only the preview is measured, with an empty Redis server and all processes started.

- prepare: fetch, write out the tree, clone the template, migrate, build, start, probe;
- ship: fetch, merge, migrate a clone, build, start the build on that clone, probe, stop it, push,
  migrate production, start the new backend, probe, switch, probe, stop the old one.

What the start in the merge gate costs is a line of its own, which has no bound.

Each round runs both in turn and has a ratio of its own, because the speed of a shared machine
changes within a minute; the bounds hold for the medians over the rounds.

The scripts keep no journal, repeat no probe and cannot be resumed. They copy the template
themselves, where the pipelines take the spare copy that an idle worker makes. The pipelines run
without the queue, whose poll takes 0.2 s at most.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from arguments import add_number, make_parser

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

# The ratio of the medians, and the seconds above the scripts.
Bounds = dict[str, tuple[float, float]]
BOUNDS: Bounds = {"prepare": (1.15, 0.5), "ship": (1.4, 0.5)}
COMMON = r"""
set -euo pipefail
git="git --git-dir=$REPO"
$git fetch --quiet --prune "$REMOTE" '+refs/heads/*:refs/remotes/origin/*'
commit=$($git rev-parse "refs/remotes/origin/$BRANCH")
write_tree() { mkdir -p "$2"; $git archive "$1" | tar -x -C "$2"; }
build() { [ -z "$BUILD" ] || (cd "$1" && "$PYTHON" $BUILD); }
set_database() { export DATABASE_URL="$1" DB_NAME="${1##*/}" PGDATABASE="${1##*/}"; }
release() { (cd "$1/$DIRECTORY" && set_database "$2" && "$PYTHON" $RELEASE); }
spawn() {
    (cd "$1/$DIRECTORY" && export PORT && set_database "$2" &&
        eval "exec setsid $PYTHON $4" >/dev/null 2>&1 & echo $! >"$WORK/$3")
}
start() {
    spawn "$1" "$2" "$3" "$WEB"
    until curl -fs "http://127.0.0.1:$PORT$HEALTH"; do sleep 0.02; done
}
stop() { [ ! -e "$WORK/$1" ] || kill "$(cat "$WORK/$1")"; }
"""
PREPARE = r"""
for name in preview worker beat; do stop $name.pid; done
if [ -e "$WORK/redis.pid" ]; then
    stop redis.pid
    while kill -0 "$(cat "$WORK/redis.pid")" 2>/dev/null; do sleep 0.01; done
fi
rm -rf "$WORK/preview"
write_tree "$commit" "$WORK/preview"
dropdb --if-exists --force preview_by_script
createdb -T "$TEMPLATE" preview_by_script
release "$WORK/preview" "$SERVER/preview_by_script"
build "$WORK/preview"
if [ -n "$REDIS" ]; then
    (exec setsid "$REDIS" --port "$REDIS_PORT" --save "" >/dev/null 2>&1 &
        echo $! >"$WORK/redis.pid")
    until (exec 3<>"/dev/tcp/127.0.0.1/$REDIS_PORT") 2>/dev/null; do sleep 0.02; done
    spawn "$WORK/preview" "$SERVER/preview_by_script" worker.pid "$WORKER"
    spawn "$WORK/preview" "$SERVER/preview_by_script" beat.pid "$BEAT"
fi
start "$WORK/preview" "$SERVER/preview_by_script" preview.pid
"""
SHIP = r"""
base=$($git rev-parse refs/remotes/origin/main)
$git update-ref refs/heads/main "$base"
tree=$($git merge-tree --write-tree "$base" "$commit")
candidate=$($git commit-tree -p "$base" -p "$commit" -m "Merge $BRANCH" "$tree")

write_tree "$candidate" "$WORK/gate"
createdb -T "$TEMPLATE" gate_by_script
release "$WORK/gate" "$SERVER/gate_by_script"
rm -rf "$WORK/gate"
write_tree "$candidate" "$WORK/$candidate"
build "$WORK/$candidate"

date +%s.%N >"$WORK/gate.times"
release "$WORK/$candidate" "$SERVER/gate_by_script"
(PORT=$GATE_PORT; start "$WORK/$candidate" "$SERVER/gate_by_script" gate.pid)
stop gate.pid
while kill -0 "$(cat "$WORK/gate.pid")" 2>/dev/null; do sleep 0.01; done
rm "$WORK/gate.pid"
date +%s.%N >>"$WORK/gate.times"
dropdb gate_by_script

$git update-ref refs/heads/main "$candidate" "$base"
$git push --quiet "$REMOTE" "$candidate:refs/heads/main"

release "$WORK/$candidate" "$SERVER/by_script"
start "$WORK/$candidate" "$SERVER/by_script" new.pid
ln -s "$candidate" "$WORK/fresh" && mv -T "$WORK/fresh" "$WORK/current"
curl -fs "http://127.0.0.1:$PORT$HEALTH"
stop live.pid
mv "$WORK/new.pid" "$WORK/live.pid"
"""
DJANGO_FILES = {
    "requirements.txt": "django>=5.2,<5.3\npsycopg[binary]\n",
    "Procfile": "web: python manage.py runserver --noreload 127.0.0.1:$PORT\n"
    "release: python manage.py migrate --noinput\n",
    "oroboros.toml": '[backend]\nhealth_path = "/admin/login/"\n\n'
    '[env]\nDJANGO_SETTINGS_MODULE = "mysite.production"\nDB_NAME = "${PGDATABASE}"\n',
    "mysite/production.py": "import os\n\nfrom .settings import *\n\n"
    'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", '
    '"NAME": os.environ["DB_NAME"]}}\n',
}


@dataclass(frozen=True)
class Application:
    """What the scripts run: arguments for the application's Python, and the folder to run in.

    With a `worker` there are that, `beat` and Redis, and only the preview is measured.
    """

    directory: str
    build: str
    release: str
    web: str
    health: str
    worker: str = ""
    beat: str = ""
    settings: str = "mysite.production"
    bounds: Bounds = field(default_factory=lambda: BOUNDS)


APPLICATIONS = {
    "guestbook": Application(
        "backend", "frontend/build.py", "-m guestbook.migrate", "-m guestbook", "/health"
    ),
    "django": Application(
        ".",
        "",
        "manage.py migrate --noinput",
        "manage.py runserver --noreload 127.0.0.1:$PORT",
        "/admin/login/",
    ),
    "celery": Application(
        ".",
        "",
        "manage.py migrate --noinput",
        "-m gunicorn shop.wsgi --bind 127.0.0.1:$PORT --threads 8",
        "/api/version",
        "-m celery -A shop worker --concurrency 1 --loglevel INFO",
        "-m celery -A shop beat --schedule $WORK/beat --pidfile=",
        "shop.settings",
        {"prepare": (1.25, 1.0)},
    ),
}


def guestbook(folder: Path) -> dict[str, str]:
    """Return the files of the guestbook, without its checks."""
    from tests.runs.pipelines.shipping.world import GUESTBOOK

    paths = [path for path in GUESTBOOK.rglob("*") if path.is_file()]
    found = {
        str(path.relative_to(GUESTBOOK)): path.read_text()
        for path in paths
        if "__pycache__" not in path.parts
    }
    return {**found, "oroboros.toml": found["oroboros.toml"].partition("[checks]")[0]}


def django_project(folder: Path) -> dict[str, str]:
    """Return the files of `startproject`, and more settings that use PostgreSQL."""
    with tempfile.TemporaryDirectory() as folder_name:
        argv = [sys.executable, "-m", "django", "startproject", "mysite", folder_name]
        subprocess.run(argv, check=True)
        made = {
            str(path.relative_to(folder_name)): path.read_text()
            for path in Path(folder_name).rglob("*.py")
        }
    return {**made, **DJANGO_FILES}


def celery_shop(folder: Path) -> dict[str, str]:
    """Return the files of a Django application with Celery, without its second server."""
    from tests.runs.pipelines.preview.celery_shop import FILES

    procfile = FILES["Procfile"].partition("site:")[0]
    return {**FILES, "Procfile": procfile, "oroboros.toml": ""}


def main(name: str, times: int) -> bool:
    """Measure both in turns; return whether the pipelines are within their bounds."""
    from tests import environment  # noqa: F401 — starts a PostgreSQL for this process

    os.environ["DJANGO_SETTINGS_MODULE"] = "oroboros.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from slots.models import Slot
    from tests.runs.pipelines.shipping.world import World

    call_command("migrate", verbosity=0)
    files = {"guestbook": guestbook, "django": django_project, "celery": celery_shop}[name]
    application = APPLICATIONS[name]
    world = World(files, DEPLOY_HEALTH_SECONDS="0")
    world.config = choose_redis_ports(world.config)
    settings.OROBOROS = world.config
    for slot in world.config.slots:
        Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host=settings.HOST_NAME)
    scripts = None
    try:
        run_pipelines(world, "warm")
        scripts = Scripts(world, application)
        ships = "ship" in application.bounds
        rounds = [
            (run_pipelines(world, f"pipeline-{n}", ships=ships), scripts.run(f"script-{n}"))
            for n in range(times + 1)
        ]
    finally:
        if scripts:
            scripts.stop()
        world.close()
    # Without the first round, which fills the caches.
    measured = rounds[1:]
    if ships:
        ours, others = (statistics.median(pair[i]["start"] for pair in measured) for i in (0, 1))
        print(f"start    {ours:.3f} s of ship in the merge gate, scripts {others:.3f} s")
    verdicts = [
        print_result(
            part,
            bounds,
            [one[part] for one, _ in measured],
            [other[part] for _, other in measured],
        )
        for part, bounds in application.bounds.items()
    ]
    return all(verdicts)


def choose_redis_ports(config):
    """Return the configuration with free ports for Redis servers."""
    from tests.environment import free_port

    slots = tuple(replace(slot, redis_port=free_port()) for slot in config.slots)
    return replace(config, slots=slots, redis_ports=(free_port(), free_port()))


def run_pipelines(world, branch: str, *, ships: bool = True) -> dict[str, float]:
    """Return the seconds of a new branch to `preview_ready`, and from its approval to `merged`.

    One that does not ship is canceled.
    """
    from runs.lifecycle import execution, operations
    from runs.models import Run
    from runs.pipelines import template_databases
    from runs.repository import open_repository

    # The scripts push to the same remote; a worker would notice within a minute.
    open_repository(world.config).fetch(str(world.remote))
    template_databases.build_current_template()
    world.commit(branch, {f"{branch}.txt": branch})
    started_at = time.monotonic()
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    execution.execute_run(run.pk)
    prepared = time.monotonic() - started_at
    template_databases.ensure_spare(world.config)
    if not ships:
        operations.cancel(Run.objects.get(pk=run.pk), actor="ada")
        return {"prepare": prepared}
    operations.approve(Run.objects.get(pk=run.pk), actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert run.status == "merged", run.failure_detail
    start = run.steps.get(name="start")
    return {
        "prepare": prepared,
        "ship": (run.ended_at - run.approved_at).total_seconds(),
        "start": (start.ended_at - start.started_at).total_seconds(),
    }


class Scripts:
    """The shell scripts, with a repository, a template and ports of their own.

    They run the application with the Python that the pipelines installed for it.
    """

    def __init__(self, world, application: Application) -> None:
        from host.services import redis_server
        from tests.environment import CLUSTER, free_port

        self.world, self.work, self.count = world, world.folder / "by-script", 0
        self.application, redis_port = application, free_port()
        self.work.mkdir()
        self.env = {
            "PATH": f"{CLUSTER.programs.folder}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(CLUSTER.port),
            "PGUSER": "postgres",
            "PGPASSWORD": CLUSTER.password,
            "SERVER": f"postgresql://postgres:{CLUSTER.password}@127.0.0.1:{CLUSTER.port}",
            "TEMPLATE": "template_by_script",
            "REPO": str(self.work / "repo.git"),
            "REMOTE": str(world.remote),
            "WORK": str(self.work),
            "PYTHON": str(next(world.config.var.glob("cache/installs/*/.venv/bin/python"))),
            "DIRECTORY": application.directory,
            "BUILD": application.build,
            "RELEASE": application.release,
            "WEB": application.web,
            "HEALTH": application.health,
            "WORKER": application.worker,
            "BEAT": application.beat,
            "REDIS": redis_server.find_program() if application.worker else "",
            "REDIS_PORT": str(redis_port),
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "OROBOROS_COMMIT": "by-script",
            "OROBOROS_PROCESS": "by-script",
            "DJANGO_SETTINGS_MODULE": application.settings,
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.com",
        }
        self.ports = [free_port() for _ in range(3)]
        self.env["GATE_PORT"] = str(free_port())
        world.git("init", "-q", "--bare", self.env["REPO"])
        CLUSTER.execute(["CREATE DATABASE template_by_script", "CREATE DATABASE by_script"])
        self.run("template")
        self.stop()
        migrated = "by_script" if "ship" in application.bounds else "preview_by_script"
        CLUSTER.execute(
            [
                "DROP DATABASE template_by_script",
                f"CREATE DATABASE template_by_script TEMPLATE {migrated}",
            ]
        )

    def run(self, branch: str) -> dict[str, float]:
        """Return the seconds of both scripts for a new branch."""
        self.world.commit(branch, {f"{branch}.txt": branch})
        self.count += 1
        prepared = self._run_script(PREPARE, branch, self.ports[2])
        if "ship" not in self.application.bounds:
            return {"prepare": prepared}
        shipped = self._run_script(SHIP, branch, self.ports[self.count % 2])
        begun, ended = map(float, (self.work / "gate.times").read_text().split())
        return {"prepare": prepared, "ship": shipped, "start": ended - begun}

    def _run_script(self, script: str, branch: str, port: int) -> float:
        env = {**self.env, "BRANCH": branch, "PORT": str(port)}
        started_at = time.monotonic()
        # Not a pipe: the backend that the script leaves running would keep it open.
        argv = ["bash", "-c", COMMON + script]
        subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - started_at

    def stop(self) -> None:
        """Stop the backends, which ends their database sessions."""
        for pid in self.work.glob("*.pid"):
            os.kill(int(pid.read_text()), signal.SIGTERM)
            pid.unlink()


def print_result(
    part: str, bounds: tuple[float, float], ours: list[float], scripts: list[float]
) -> bool:
    """Print the medians of the rounds; return whether the pipelines are within their bounds."""
    ratio_bound, seconds_bound = bounds
    rounds = list(zip(ours, scripts, strict=True))
    ratio = statistics.median(one / other for one, other in rounds)
    seconds = statistics.median(one - other for one, other in rounds)
    print(
        f"{part:8} {statistics.median(ours):.3f} s, scripts {statistics.median(scripts):.3f} s: "
        f"{ratio:.2f} (bound {ratio_bound}), {seconds:+.3f} s (bound {seconds_bound})"
    )
    return ratio < ratio_bound and seconds < seconds_bound


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("name", choices=APPLICATIONS, nargs="?", default="guestbook")
    add_number(parser, "times", 7, "rounds")
    given = parser.parse_args()
    sys.exit(0 if main(given.name, given.times) else 1)
