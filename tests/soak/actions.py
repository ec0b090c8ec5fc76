"""What people do to the stack, at random: each method is one action."""

import itertools
import os
import subprocess

import requests

from ops import stack

# How often an action is chosen, compared with the others.
WEIGHTS = {
    "push": 4,
    "push_again": 2,
    "start_run": 4,
    "approve": 6,
    "cancel": 2,
    "keep": 1,
    "reserve": 2,
    "release": 2,
    "roll_back": 1,
    "unfreeze": 1,
    "sign": 4,
}
IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "Soak"), ("EMAIL", "soak@example.com"))
}
# The application answers with the commit that it was started from; its own checks have a book of
# their own, whose answer stays as it is.
OLD = 'return Answer(200, {"status": "ok", **book.health()})'
NEW = (
    'import os\n    body = {"status": "ok", **book.health()}\n'
    '    if "PORT" in os.environ:\n        body["commit"] = os.environ.get("OROBOROS_COMMIT")\n'
    "    return Answer(200, body)"
)


class Actor:
    """Does one action after another. It knows the commits, the reservations and the rows."""

    def __init__(self, host, rng, report):
        self.host, self.rng, self.report = host, rng, report
        self.clone = host.home.parent / f"{host.home.name}-clone"
        self.names = itertools.count(1)
        self.silent = set()
        self.branches, self.reservations, self.signed = [], [], []

    def git(self, *words):
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *words],
            cwd=self.clone if self.clone.exists() else self.host.home,
            env={**os.environ, **IDENTITY},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def prepare(self):
        """Clone the remote, and have the application of main answer with its commit."""
        remote = self.host.home / "var" / "demo" / "guestbook.git"
        self.git("clone", "-q", str(remote), str(self.clone))
        self.silent = {*self.git("rev-list", "--all").split()}
        app = self.clone / "backend" / "guestbook" / "app.py"
        text = app.read_text()
        assert OLD in text
        app.write_text(text.replace(OLD, NEW))
        self.git("commit", "-q", "-am", "Answer with the commit")
        self.git("push", "-q", "origin", "HEAD:main")
        self.host.script("deploy", "main")

    def act(self):
        """Do one random action."""
        name = self.rng.choices([*WEIGHTS], weights=[*WEIGHTS.values()])[0]
        try:
            result = getattr(self, name)()
        except requests.RequestException as error:  # the API may have been killed
            result = type(error).__name__
        if result is not None:
            self.report.log(name, result)

    # --- branches and runs

    def push(self):
        branch = f"soak/{next(self.names)}"
        self.git("fetch", "-q", "origin")
        self.git("checkout", "-q", "-B", branch, "origin/main")
        self.branches = [*self.branches, branch][-8:]
        return self._commit(branch)

    def push_again(self):
        if not self.branches:
            return None
        branch = self.rng.choice(self.branches)
        self.git("checkout", "-q", branch)
        return self._commit(branch)

    def _commit(self, branch):
        file = self.clone / f"notes-{branch.replace('/', '-')}.txt"
        file.write_text(f"{self.rng.random()}\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"Work on {branch}")
        self.git("push", "-q", "origin", branch)
        commit = self.git("rev-parse", "HEAD")
        return f"{branch} {commit[:12]}"

    def start_run(self):
        if not self.branches:
            return None
        branch = self.rng.choice(self.branches)
        return self._post("/api/runs", {"branch": branch, "title": branch})

    def list_runs(self, *statuses):
        runs = self.host.api("/api/runs?limit=200").json()["results"]
        return [run for run in runs if not statuses or run["status"] in statuses]

    def approve(self):
        run = self._choose(self.list_runs("preview_ready"))
        return run and self._post(
            f"/api/runs/{run['id']}/approve", {"commit_sha": run["commit_sha"]}
        )

    def cancel(self):
        run = self._choose(self.list_runs("queued", "preparing", "preview_ready"))
        return run and self._post(f"/api/runs/{run['id']}/cancel", {"reason": "soak"})

    def keep(self):
        run = self._choose(self.list_runs("preview_ready"))
        return run and self._post(f"/api/runs/{run['id']}/keep", {"seconds": 3600})

    # --- slots, releases, rows

    def reserve(self):
        body = {"title": "soak reservation", "prepare": False}
        answer = self.host.api("/api/runs", body)
        if answer.status_code != 201:
            return f"run {answer.status_code}"
        run_id = answer.json()["id"]
        granted = self.host.api("/api/slots/acquire", {"run_id": run_id, "ttl_seconds": 60})
        if granted.status_code == 200 and granted.json().get("slot_id"):
            self.reservations.append((run_id, granted.json()["slot_id"]))
        return f"{granted.status_code} {granted.json().get('slot_id')}"

    def release(self):
        if not self.reservations:
            return None
        run_id, slot_id = self.reservations.pop(self.rng.randrange(len(self.reservations)))
        return self._post(f"/api/slots/{slot_id}/release", {"run_id": run_id})

    def roll_back(self):
        releases = self.host.api("/api/releases").json()["results"]
        usable = [
            one for one in releases if one["status"] == "retired" and not one.get("removed_at")
        ]
        release = self._choose(usable[:3])
        return release and self._post(
            f"/api/releases/{release['release_id']}/rollback", {"reason": "soak"}
        )

    def unfreeze(self):
        return self._post("/api/shipping/unfreeze", {"reason": "soak"})

    def sign(self):
        """Write a row in production; if it is acknowledged it must be there at the end."""
        name = f"visitor {next(self.names)}"
        body = {"name": name, "message": "soak"}
        url = f"http://127.0.0.1:{self.host.config.web_port}/api/entries"
        answer = requests.post(url, json=body, timeout=20)
        if answer.status_code == 201:
            self.signed.append(name)
        return f"{answer.status_code}"

    def _choose(self, found):
        return self.rng.choice(found) if found else None

    def _post(self, path, body):
        answer = self.host.api(path, body)
        if answer.status_code >= 500:
            self.report.fault(f"POST {path.partition('?')[0]}: {answer.status_code}")
        code = answer.json().get("error", "") if answer.status_code >= 400 else ""
        return f"{path} {answer.status_code} {code}".rstrip()

    def read_signed(self):
        """Return the names of the rows that production's database has."""
        import psycopg

        url = stack.get_cluster(self.host.config).url(self.host.config.production_database)
        with psycopg.connect(url) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM entries").fetchall()}
