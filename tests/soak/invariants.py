"""What must hold at any moment, and what must be left when nothing is under way."""

import subprocess

import psutil
import psycopg

from host.files import var_folders
from host.postgres import guard
from ops import stack
from tests.slot_leftovers import assert_nothing_is_left
from tests.system.host import END_STATUSES

HELD = "SELECT slot_id, count(*) FROM slots_lease WHERE state IN ('held', 'ending') GROUP BY 1"
# Leases are ended and slots are cleaned within seconds; a killed worker may delay that.
SETTLE_SECONDS = 120
# Of one process when nothing is under way: several times what each has after a start.
MOST = {"MB": 250, "fds": 150, "threads": 40}
# Between the start and the end, of the largest process of a unit.
MOST_GROWTH = {"MB": 120, "fds": 40, "threads": 15}
# Rows that are taken away again, and idle connections.
MOST_ROWS = {
    "queued tasks": ("SELECT count(*) FROM django_q_ormq", 10),
    "tasks": ("SELECT count(*) FROM django_q_task", 600),
    "open leases": ("SELECT count(*) FROM slots_lease WHERE state <> 'ended'", 3),
    "connections": ("SELECT count(*) FROM pg_stat_activity WHERE datname = 'oroboros'", 60),
}
MEASURED_UNITS = ("ouroboros-worker", "ouroboros-api", "ouroboros-web@main", "ouroboros-caddy")


class Watch:
    """Compares the remote, the database and the machine with what they must be."""

    def __init__(self, host, actor, report):
        self.host, self.actor, self.report = host, actor, report
        self.heads = [host.remote_main()]
        self.merged = {}

    def git(self, *words):
        return subprocess.run(
            ["git", "-c", "safe.directory=*", *words],
            cwd=self.host.home / "var" / "demo" / "guestbook.git",
            capture_output=True,
            text=True,
        )

    def check(self):
        """Check what holds while everything is under way."""
        head = self.host.remote_main()
        if head != self.heads[-1]:
            self._require_ancestor(self.heads[-1], head, "main was not fast-forwarded")
            self.heads.append(head)
        for run in self.actor.list_runs("merged"):
            self.merged[run["id"]] = run["commit_sha"]
        for run_id, commit in self.merged.items():
            self._require_ancestor(commit, head, f"the merge of run {run_id} is lost")
        with self.connect("oroboros") as connection:
            for slot, count in connection.execute(HELD).fetchall():
                if count > 1:
                    self.report.fault(f"slot {slot} has {count} leases")

    def _require_ancestor(self, commit, head, text):
        if self.git("merge-base", "--is-ancestor", commit, head).returncode:
            self.report.fault(f"{text}: {commit[:12]} is not in {head[:12]}")

    def connect(self, database):
        url = stack.get_cluster(self.host.config).url(database)
        return psycopg.connect(url, autocommit=True, connect_timeout=10)

    # --- when nothing is under way

    def list_unsettled(self):
        """Return what has not ended yet."""
        runs = [f"run {run['id']} is {run['status']}" for run in self.actor.list_runs()
                if run["status"] not in END_STATUSES]  # fmt: skip
        slots = self.host.api("/api/slots").json()
        return runs + [f"{slot['slot_id']} is {slot['state']}" for slot in slots
                       if slot["state"] not in ("free", "held")]  # fmt: skip

    def check_end(self, probers):
        """Check rows, commits, and what killed processes may have left."""
        missing = {*self.actor.signed} - self.actor.read_signed()
        if missing:
            self.report.fault(f"{len(missing)} acknowledged rows are lost: {sorted(missing)[:5]}")
        known = {*self.git("rev-list", "--all").stdout.split(), *self.heads}
        for prober in probers:
            for commit in prober.commits - known:
                self.report.fault(f"{prober.label} served the unknown commit {commit}")
            self._check_served(prober)
        self._check_leaks()
        self._check_rows()

    def _check_served(self, prober):
        """Check that a preview's answers named commits of their run's branch."""
        branches = {run["id"]: run["branch"] for run in self.actor.list_runs()}
        for run_id, commit in prober.served - {(None, None)}:
            branch = branches.get(run_id)
            if run_id is None or branch is None:  # production's, or older than the API's last page
                continue
            if self.git("merge-base", "--is-ancestor", commit, branch).returncode:
                self.report.fault(f"{prober.label}: {commit} is not of run {run_id}, {branch}")

    def _check_rows(self):
        with self.connect("oroboros") as connection:
            for name, (query, most) in MOST_ROWS.items():
                (count,) = connection.execute(query).fetchone()
                self.report.numbers[name] = count
                if count > most:
                    self.report.fault(f"{count} {name}: at most {most}")

    def check_growth(self, before, after):
        """Check that no process of the control plane has grown, or is too large."""
        for text in find_growth(before, after):
            self.report.fault(text)

    def _check_leaks(self):
        config = self.host.config
        if unknown := var_folders.list_unknown_names(config):
            self.report.fault(f"unknown names in var: {unknown}")
        shipping = {run["id"] for run in self.actor.list_runs("approved", "merging", "deploying")}
        for folder in ("tmp", "gates", "app-gates"):
            path = config.var / folder
            left = {one.name for one in path.iterdir()} if path.is_dir() else set()
            if left - shipping:
                self.report.fault(f"left in var/{folder}: {sorted(left - shipping)[:5]}")
        self._check_databases()
        self._check_free_slots()
        ours = {pid for pid, _ in self.host.processes()}
        zombies = [
            one.info["name"]
            for one in psutil.process_iter(["name", "status", "ppid"])
            if one.info["status"] == psutil.STATUS_ZOMBIE and one.info["ppid"] in ours
        ]
        if zombies:
            self.report.fault(f"zombies: {zombies[:5]}")

    def _check_free_slots(self):
        """Check that as root no process, file or IPC object of a free slot's user is left."""
        states = {one["slot_id"]: one["state"] for one in self.host.api("/api/slots").json()}
        for slot in self.host.config.slots:
            try:
                if states[slot.slot_id] == "free":
                    assert_nothing_is_left(self.host.config, slot)
            except AssertionError as error:
                self.report.fault(f"left in {slot.slot_id}: {error}")

    def _check_databases(self):
        with self.connect("postgres") as connection:
            databases = {n for (n,) in connection.execute("SELECT datname FROM pg_database")}
            roles = {n for (n,) in connection.execute("SELECT rolname FROM pg_roles")}
        templates = [name for name in databases if guard.TEMPLATE_NAME.fullmatch(name)]
        self.report.numbers["template databases"] = len(templates)
        if gates := [name for name in databases if guard.GATE_NAME.fullmatch(name)]:
            self.report.fault(f"databases of merge gates are left: {gates}")
        if strays := [role for role in roles - databases if guard.has_own_role(role)]:
            self.report.fault(f"roles without a database are left: {strays}")

    def measure(self):
        """Return memory (MB), open files and threads of the largest process of each unit."""
        found, units = {}, {name: self.host.unit(name) for name in MEASURED_UNITS}
        for name, unit in units.items():
            processes = {unit, *unit.children(recursive=True)}
            # The API and the worker start each other again: one may be a child of the other.
            for other in {*units.values()} & processes - {unit}:
                processes -= {other, *other.children(recursive=True)}
            sizes = [size for one in processes if (size := _measure_process(one))]
            found[name] = {key: max(size[key] for size in sizes) for key in MOST}
            found[name]["processes"] = len(sizes)
        return found


def _measure_process(process):
    try:
        with process.oneshot():
            megabytes = process.memory_info().rss // 2**20
            return {"MB": megabytes, "fds": process.num_fds(), "threads": process.num_threads()}
    except psutil.Error:
        return None


def find_growth(before, after):
    """Return what is too large `after`, or has grown too much since `before`."""
    return [
        f"{unit}: {size[key]} {key} after {before[unit][key]}"
        for unit, size in after.items()
        for key in MOST
        if size[key] > MOST[key] or size[key] - before[unit][key] > MOST_GROWTH[key]
    ]
