"""Measures what the running stack takes at rest: memory (PSS), CPU and context switches.

It groups processes by what they are; under systemd by unit, and it counts the lines of and about
the units that the journal got meanwhile. PSS counts a page that n processes share as 1/n in each
(proc_pid_smaps_rollup), so the sums add up. Processes that ended meanwhile are left out.
Run it as the user that started the stack (or root), beside a stack with free slots and no work:

    ./scripts/runtime-up.sh && .venv/bin/python bench/memory.py --seconds 30
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from arguments import add_number, make_parser

HOME = Path(__file__).resolve().parents[1]
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# The first text that occurs in the command line decides; a child without one is of its parent's.
GROUPS = (
    ("postgres: ", "PostgreSQL, background processes and connections"),
    ("/postgres", "PostgreSQL, background processes and connections"),
    ("gunicorn", "API and admin (gunicorn)"),
    ("named queue", "queue (django-q2)"),
    ("run_worker", "worker (supervisor)"),
    ("caddy", "Caddy (surfaces and router)"),
    ("idle", "idle pages of free slots"),
)
OTHER = "production app and previews"
UNIT = re.compile(r"/((?:ouroboros|postgresql)[^/]*\.service)(?:/|$)", re.MULTILINE)
# systemd.journal-fields(7)
UNIT_FIELDS = ("_SYSTEMD_UNIT", "UNIT", "MESSAGE")
SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)


def processes() -> dict[int, tuple[int, str]]:
    """Return the parent, and the command line with the name, of every process, by pid."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            name, _, fields = (path / "stat").read_text().rpartition(")")
            parent = int(fields.split()[1])
        except (OSError, ValueError):  # it ended while it was read
            continue
        if words:
            found[int(path.name)] = parent, f"{words} named {name.partition('(')[2]}"
    return found


def members(home: Path) -> dict[int, str]:
    """Return the group of each process of the checkout's stack, by pid."""
    table, found = processes(), {}
    units = {pid: unit for pid in table if (unit := find_unit(read(pid, "cgroup")))}
    if Path("/run/systemd/system").exists() and units:
        return units

    def is_member(pid: int) -> bool:
        parent, words = table.get(pid, (0, ""))
        return f"{home}/" in words or (parent > 1 and is_member(parent))

    for pid, (_, words) in table.items():
        if pid != os.getpid() and is_member(pid) and "bench/memory.py" not in words:
            found[pid] = next((group for text, group in GROUPS if text in words), OTHER)
    return found


def find_unit(cgroups: str) -> str:
    """Return the unit of Oroboros or PostgreSQL that a /proc/<pid>/cgroup names; "" for another."""
    found = UNIT.search(cgroups)
    return found[1] if found else ""


def read(pid: int, name: str) -> str:
    """Return the file of /proc/<pid>; "" for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def pss_kib(pid: int) -> int:
    for line in read(pid, "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def cpu_seconds(pid: int) -> float:
    fields = read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND if fields else 0.0


def count_switches(pid: int) -> float:
    """Return the context switches of all threads of the process."""
    try:
        texts = [(path / "status").read_text() for path in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:  # it, or one of its threads, ended
        return 0.0
    return float(sum(int(number) for text in texts for number in SWITCHES.findall(text)))


def count_use(pids: Iterable[int]) -> dict[int, tuple[float, float]]:
    """Return the seconds of CPU and the context switches of each process since its start."""
    return {pid: (cpu_seconds(pid), count_switches(pid)) for pid in pids}


def count_journal_lines(since: float) -> int | None:
    """Return how many lines of or about the units the journal got since then; None without one."""
    argv = ["journalctl", "-q", "-o", "json", "--since", f"@{since:.0f}"]
    try:
        lines = subprocess.run(argv, capture_output=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    return sum(names_unit(json.loads(line)) for line in lines)


def names_unit(entry: dict[str, object]) -> bool:
    """Return whether a line is of a unit of Oroboros, or systemd's about one or its user."""
    return any("ouroboros" in str(entry.get(field, "")) for field in UNIT_FIELDS)


def print_rows(rows: list[tuple[str, float, float, float]], seconds: float) -> None:
    """Print a line for each group, the largest first, and one for all processes."""
    groups = {row[0] for row in rows}
    print(f"{'':50} {'processes':>9} {'PSS MB':>8} {'CPU %':>7} {'switches/s':>10}")
    lines = [(group, [row[1:] for row in rows if row[0] == group]) for group in groups]
    lines.sort(key=lambda line: -sum(one[0] for one in line[1]))
    for name, values in [*lines, ("all", [row[1:] for row in rows])]:
        size, cpu, switches = (sum(column) for column in zip(*values, strict=True))
        numbers = f"{len(values):9} {size:8.1f} {100 * cpu / seconds:7.1f}"
        print(f"{name:50} {numbers} {switches / seconds:10.1f}")


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--home", type=Path, default=HOME, help="the checkout (default: this one)")
    add_number(parser, "--seconds", 30.0, "how long CPU, switches and lines are counted")
    given = parser.parse_args()
    home, since = given.home.resolve(), time.time()
    before = count_use(members(home))
    if not before:
        print(f"Nothing of {given.home} runs: start it with ./scripts/runtime-up.sh.")
        return 1
    time.sleep(given.seconds)
    rows = []
    for pid, group in members(home).items():
        # One that began meanwhile has used all of its time since.
        cpu, switches = before.get(pid, (0.0, 0.0))
        used = cpu_seconds(pid) - cpu, count_switches(pid) - switches
        rows.append((group, pss_kib(pid) / 1024, *used))
    print_rows(rows, given.seconds)
    lines = count_journal_lines(since)
    if lines is not None:
        print(f"{lines} lines in the journal in {given.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
