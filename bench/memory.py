"""Measures what the running stack takes at rest: memory (PSS) and CPU, by group of processes.

PSS counts a page that n processes share as 1/n in each (proc_pid_smaps_rollup), so the sums add up.
Run it as the user that started the stack (or root), beside a stack with free slots and no work:

    ./scripts/runtime-up.sh && .venv/bin/python bench/memory.py --seconds 30
"""

import os
import sys
import time
from collections import defaultdict
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

    def is_member(pid: int) -> bool:
        parent, words = table.get(pid, (0, ""))
        return f"{home}/" in words or (parent > 1 and is_member(parent))

    for pid, (_, words) in table.items():
        if pid != os.getpid() and is_member(pid) and "bench/memory.py" not in words:
            found[pid] = next((group for text, group in GROUPS if text in words), OTHER)
    return found


def pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def total_cpu(pids: dict[int, str]) -> dict[str, float]:
    used: dict[str, float] = defaultdict(float)
    for pid, group in pids.items():
        try:
            used[group] += cpu_seconds(pid)
        except OSError:  # it ended
            continue
    return used


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--home", type=Path, default=HOME, help="the checkout (default: this one)")
    add_number(parser, "--seconds", 30.0, "how long CPU is counted")
    given = parser.parse_args()
    pids = members(given.home.resolve())
    if not pids:
        print(f"Nothing of {given.home} runs: start it with ./scripts/runtime-up.sh.")
        return 1
    before = total_cpu(pids)
    time.sleep(given.seconds)
    after = total_cpu(pids)
    memory: dict[str, list[int]] = defaultdict(list)
    for pid, group in members(given.home.resolve()).items():
        try:
            memory[group].append(pss_kib(pid))
        except OSError:  # it ended
            continue
    print(f"{'':50} {'processes':>9} {'PSS MB':>8} {'CPU %':>7}")
    for group in sorted(memory, key=lambda name: -sum(memory[name])):
        share = 100 * (after[group] - before[group]) / given.seconds
        size = sum(memory[group]) / 1024
        print(f"{group:50} {len(memory[group]):9} {size:8.1f} {share:7.1f}")
    everything = sum(map(sum, memory.values())) / 1024
    share = 100 * (sum(after.values()) - sum(before.values())) / given.seconds
    print(f"{'all':50} {sum(map(len, memory.values())):9} {everything:8.1f} {share:7.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
