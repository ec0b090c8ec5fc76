"""A branch's way, from its commit to `preview_ready` and from its approval to `merged`.

    python bench/way.py [guestbook|django] [times]

Beside it, in the same run, shell scripts that do the same work by hand, both on a warm cache of
installs and on a branch of an application without checks: the guestbook of `examples/`, which
starts in a fifth of a second, or what Django's own starter makes, on PostgreSQL.

- prepare: fetch, lay out, clone the template, migrate, build, start, probe;
- ship: fetch, merge, migrate a clone, build, push, migrate production, start the new backend,
  probe, switch, probe, stop the old one.

Both go one after the other, and each round has a ratio of its own, since a machine that others use
may be half as quick a minute later; the median of the rounds is held against the bounds.

The scripts keep no journal, ask nobody twice and cannot be killed in between; they copy the
template themselves, where ours take the spare copy that a worker makes while nobody waits. Ours are
without the queue's poll (0.2 s at most).
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

from tests import environment  # noqa: E402 — starts a PostgreSQL of our own

BOUNDS = {"prepare": (1.15, 0.5), "ship": (1.3, 0.5)}
COMMON = r"""
set -euo pipefail
git="git --git-dir=$REPO"
$git fetch --quiet --prune "$REMOTE" '+refs/heads/*:refs/remotes/origin/*'
commit=$($git rev-parse "refs/remotes/origin/$BRANCH")
lay_out() { mkdir -p "$2"; $git archive "$1" | tar -x -C "$2"; }
build() { [ -z "$BUILD" ] || (cd "$1" && "$PYTHON" $BUILD); }
release() { (cd "$1/$DIRECTORY" && DATABASE_URL="$2" DB_NAME="${2##*/}" "$PYTHON" $RELEASE); }
start() {
    (cd "$1/$DIRECTORY" && export PORT DATABASE_URL="$2" DB_NAME="${2##*/}" &&
        eval "exec setsid $PYTHON $WEB" >/dev/null 2>&1 & echo $! >"$WORK/$3")
    until curl -fs "http://127.0.0.1:$PORT$HEALTH"; do sleep 0.02; done
}
end() { [ ! -e "$WORK/$1" ] || kill "$(cat "$WORK/$1")"; }
"""
PREPARE = r"""
end preview.pid
rm -rf "$WORK/preview"
lay_out "$commit" "$WORK/preview"
dropdb --if-exists --force preview_by_hand
createdb -T "$TEMPLATE" preview_by_hand
release "$WORK/preview" "$SERVER/preview_by_hand"
build "$WORK/preview"
start "$WORK/preview" "$SERVER/preview_by_hand" preview.pid
"""
SHIP = r"""
base=$($git rev-parse refs/remotes/origin/main)
$git update-ref refs/heads/main "$base"
tree=$($git merge-tree --write-tree "$base" "$commit")
candidate=$($git commit-tree -p "$base" -p "$commit" -m "Merge $BRANCH" "$tree")

lay_out "$candidate" "$WORK/gate"
createdb -T "$TEMPLATE" gate_by_hand
release "$WORK/gate" "$SERVER/gate_by_hand"
dropdb gate_by_hand
rm -rf "$WORK/gate"
lay_out "$candidate" "$WORK/$candidate"
build "$WORK/$candidate"

$git update-ref refs/heads/main "$candidate" "$base"
$git push --quiet "$REMOTE" "$candidate:refs/heads/main"

release "$WORK/$candidate" "$SERVER/by_hand"
start "$WORK/$candidate" "$SERVER/by_hand" new.pid
ln -s "$candidate" "$WORK/fresh" && mv -T "$WORK/fresh" "$WORK/current"
curl -fs "http://127.0.0.1:$PORT$HEALTH"
end live.pid
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
    """What the scripts do: arguments of the application's Python, and where they are run."""

    directory: str
    build: str
    release: str
    web: str
    health: str


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
    """Return what `startproject` makes, with settings for PostgreSQL beside its own."""
    with tempfile.TemporaryDirectory() as place:
        argv = [sys.executable, "-m", "django", "startproject", "mysite", place]
        subprocess.run(argv, check=True)
        made = {
            str(path.relative_to(place)): path.read_text() for path in Path(place).rglob("*.py")
        }
    return {**made, **DJANGO_FILES}


def main(name: str, times: int) -> bool:
    """Measure both in turns and say whether ours is within its bounds."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "oroboros.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from slots.models import Slot
    from tests.runs.pipelines.shipping.world import World

    call_command("migrate", verbosity=0)
    files = {"guestbook": guestbook, "django": django_project}[name]
    world = World(files, DEPLOY_HEALTH_SECONDS="0")
    settings.OROBOROS = world.config
    for slot in world.config.slots:
        Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host=settings.HOST_NAME)
    hand = None
    try:
        ours(world, "warm")
        hand = Hand(world, APPLICATIONS[name])
        rounds = [(ours(world, f"ours-{n}"), hand.goes(f"hand-{n}")) for n in range(times + 1)]
    finally:
        if hand:
            hand.stop()
        world.close()
    verdicts = [
        told(part, [one[part] for one, _ in rounds[1:]], [other[part] for _, other in rounds[1:]])
        for part in BOUNDS
    ]
    return all(verdicts)


def ours(world, branch: str) -> dict[str, float]:
    """Take a branch all the way; return the seconds to `preview_ready`, and to `merged`."""
    from runs.lifecycle import operations
    from runs.models import Run
    from runs.pipelines import template_databases
    from runs.repository import repository

    # The script has shipped to the same remote; a worker sees that within a minute.
    repository(world.config).fetch(str(world.remote))
    template_databases.warm()
    world.commit(branch, {f"{branch}.txt": branch})
    begun = time.monotonic()
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    operations.carry(run.pk)
    prepared = time.monotonic() - begun
    template_databases.keep_spare(world.config)
    operations.approve(Run.objects.get(pk=run.pk), actor="grace")
    operations.carry(run.pk)
    run.refresh_from_db()
    assert run.status == "merged", run.failure_detail
    return {"prepare": prepared, "ship": (run.ended_at - run.approved_at).total_seconds()}


class Hand:
    """The host of the shell script, with a repository, a template and ports of its own.

    It runs the application with the Python that ours has installed for it.
    """

    def __init__(self, world, application: Application) -> None:
        from ops.postgres.embedded_server import tool

        self.world, self.work, self.count = world, world.folder / "by-hand", 0
        self.work.mkdir()
        cluster = environment.CLUSTER
        self.env = {
            "PATH": f"{tool('psql').parent}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(cluster.port),
            "PGUSER": "postgres",
            "PGPASSWORD": cluster.password,
            "SERVER": f"postgresql://postgres:{cluster.password}@127.0.0.1:{cluster.port}",
            "TEMPLATE": "template_by_hand",
            "REPO": str(self.work / "repo.git"),
            "REMOTE": str(world.remote),
            "WORK": str(self.work),
            "PYTHON": str(next(world.config.var.glob("cache/installs/*/.venv/bin/python"))),
            "DIRECTORY": application.directory,
            "BUILD": application.build,
            "RELEASE": application.release,
            "WEB": application.web,
            "HEALTH": application.health,
            "DJANGO_SETTINGS_MODULE": "mysite.production",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.com",
        }
        self.ports = [environment.free_port() for _ in range(3)]
        world.git("init", "-q", "--bare", self.env["REPO"])
        cluster.execute(["CREATE DATABASE template_by_hand", "CREATE DATABASE by_hand"])
        self.goes("template")
        self.stop()
        cluster.execute(
            ["DROP DATABASE template_by_hand", "CREATE DATABASE template_by_hand TEMPLATE by_hand"]
        )

    def goes(self, branch: str) -> dict[str, float]:
        """Take a branch all the way by hand; return the seconds of both parts."""
        self.world.commit(branch, {f"{branch}.txt": branch})
        self.count += 1
        prepared = self._run(PREPARE, branch, self.ports[2])
        return {"prepare": prepared, "ship": self._run(SHIP, branch, self.ports[self.count % 2])}

    def _run(self, script: str, branch: str, port: int) -> float:
        env = {**self.env, "BRANCH": branch, "PORT": str(port)}
        begun = time.monotonic()
        # The script's daemon keeps no pipe of ours open.
        argv = ["bash", "-c", COMMON + script]
        subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - begun

    def stop(self) -> None:
        """End the backends and their sessions with the databases."""
        for pid in self.work.glob("*.pid"):
            os.kill(int(pid.read_text()), signal.SIGTERM)
            pid.unlink()


def told(part: str, ours: list[float], hand: list[float]) -> bool:
    """Print the medians of the rounds and say whether ours is within its bounds."""
    most, above = BOUNDS[part]
    rounds = list(zip(ours, hand, strict=True))
    ratio = statistics.median(one / other for one, other in rounds)
    seconds = statistics.median(one - other for one, other in rounds)
    print(
        f"{part:8} {statistics.median(ours):.3f} s, by hand {statistics.median(hand):.3f} s: "
        f"{ratio:.2f} (bound {most}), {seconds:+.3f} s (bound {above})"
    )
    return ratio < most and seconds < above


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else "guestbook"
    if asked not in APPLICATIONS:
        sys.exit(__doc__)
    sys.exit(0 if main(asked, int(sys.argv[2]) if len(sys.argv) > 2 else 7) else 1)
