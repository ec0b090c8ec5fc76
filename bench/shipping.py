"""From the approval to `merged`, beside a shell script that does the same by hand.

    python bench/shipping.py [times]

Both ship a branch of the tests' small application, whose checks are `true`: fetch, merge, migrate a
clone of the template, check, build, push, migrate production, start the new backend, switch, probe,
stop the old one. The script keeps no journal, asks nobody twice and cannot be killed in between.
Ours is measured from the approval's row to the merge's, without the queue's poll (0.2 s at most).
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

from tests import environment  # noqa: E402 — starts a PostgreSQL of our own

RATIO, ABOVE_SECONDS = 1.3, 0.5
BY_HAND = r"""
set -euo pipefail
git="git --git-dir=$REPO"
$git fetch --quiet --prune "$REMOTE" '+refs/heads/*:refs/remotes/origin/*'
base=$($git rev-parse refs/remotes/origin/main)
$git update-ref refs/heads/main "$base"
commit=$($git rev-parse "refs/remotes/origin/$BRANCH")
tree=$($git merge-tree --write-tree "$base" "$commit")
candidate=$($git commit-tree -p "$base" -p "$commit" -m "Merge $BRANCH" "$tree")

lay_out() { mkdir -p "$1"; $git archive "$candidate" | tar -x -C "$1"; }
release() { (cd "$1" && DATABASE_URL="$2" "$PYTHON" release.py); }
lay_out "$WORK/gate"
createdb -T "$TEMPLATE" gate_by_hand
release "$WORK/gate" "$SERVER/gate_by_hand"
(cd "$WORK/gate" && true)
dropdb gate_by_hand
rm -rf "$WORK/gate"
lay_out "$WORK/$candidate"

$git update-ref refs/heads/main "$candidate" "$base"
$git push --quiet "$REMOTE" "$candidate:refs/heads/main"

release "$WORK/$candidate" "$SERVER/by_hand"
(cd "$WORK/$candidate" && PORT=$PORT OROBOROS_COMMIT=$candidate \
    exec setsid "$PYTHON" server.py >/dev/null 2>&1 & echo $! >"$WORK/pid.new")
until [ "$(curl -fs "http://127.0.0.1:$PORT/health")" = "$candidate" ]; do sleep 0.02; done
ln -s "$candidate" "$WORK/fresh" && mv -T "$WORK/fresh" "$WORK/current"
[ "$(curl -fs "http://127.0.0.1:$PORT/health")" = "$candidate" ]
[ ! -e "$WORK/pid" ] || kill "$(cat "$WORK/pid")"
mv "$WORK/pid.new" "$WORK/pid"
"""


def main(times: int) -> bool:
    """Measure both in turns and say whether ours is within its bounds."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "oroboros.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from slots.models import Slot
    from tests.pipeline import tiny
    from tests.pipeline.world import World

    call_command("migrate", verbosity=0)
    world = World(tiny.files, DEPLOY_HEALTH_SECONDS="0")
    settings.OROBOROS = world.config
    for slot in world.config.slots:
        Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host=settings.HOST_NAME)
    hand = Hand(world)
    try:
        ours(world, "warm"), hand.ship("warm-hand")
        pairs = [(ours(world, f"ours-{n}"), hand.ship(f"hand-{n}")) for n in range(times)]
    finally:
        hand.stop()
        world.close()
    return told([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def ours(world, branch: str) -> float:
    """Prepare a branch, approve it, and return the seconds until it was merged."""
    from runs import tasks
    from runs.models import Run

    world.commit(branch, {f"{branch}.txt": branch})
    run = tasks.create_run(title=branch, branch=branch, actor="ada")
    tasks.carry(run.pk)
    tasks.approve(Run.objects.get(pk=run.pk), actor="grace")
    tasks.carry(run.pk)
    run.refresh_from_db()
    assert run.status == "merged", run.failure_detail
    return (run.ended_at - run.approved_at).total_seconds()


class Hand:
    """The host of the shell script, with a repository, a template and two ports of its own."""

    def __init__(self, world) -> None:
        from oroboros.runtime.postgres import tool

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
            "PYTHON": sys.executable,
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.com",
        }
        self.ports = [environment.free_port(), environment.free_port()]
        world.git("init", "-q", "--bare", self.env["REPO"])
        cluster.execute(["CREATE DATABASE template_by_hand", "CREATE DATABASE by_hand"])

    def ship(self, branch: str) -> float:
        """Ship a branch by hand and return the seconds that took."""
        self.world.commit(branch, {f"{branch}.txt": branch})
        self.count += 1
        env = {**self.env, "BRANCH": branch, "PORT": str(self.ports[self.count % 2])}
        begun = time.monotonic()
        # The script's daemon keeps no pipe of ours open.
        subprocess.run(["bash", "-c", BY_HAND], env=env, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - begun

    def stop(self) -> None:
        pid = self.work / "pid"
        if pid.exists():
            os.kill(int(pid.read_text()), 15)


def told(ours: list[float], hand: list[float]) -> bool:
    ratio = statistics.median(ours) / statistics.median(hand)
    above = statistics.median(ours) - statistics.median(hand)
    for name, took in (("ours", ours), ("by hand", hand)):
        print(f"{name:8} median {statistics.median(took):.3f} s  best {min(took):.3f} s")
    is_good = ratio < RATIO and above < ABOVE_SECONDS
    print(f"ratio {ratio:.2f} (bound {RATIO}), {above:+.3f} s (bound {ABOVE_SECONDS})")
    return is_good


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 7) else 1)
