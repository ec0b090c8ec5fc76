"""Measure what the units take at rest, by hand: `python -m tests.systemd.rest --minutes 60`.

Needs root. It boots the machine of these tests, installs this checkout and ships a first release.
Then it prints what bench/memory.py measures by unit in the first minute and over the whole time,
and the lines of the journal. It exits with 1 if there is one.
"""

import argparse
import sys
from collections import Counter

from tests.systemd.machine import Machine, wait_for
from tests.systemd.test_journal import Journal, is_healthy

FIRST_SECONDS = 60


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.systemd.rest", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    seconds = 60 * parser.parse_args().minutes
    machine = Machine()
    try:
        machine.boot()
        machine.copy_checkout()
        machine.install()
        machine.run("./scripts/runtime-up.sh")
        machine.run_json("./scripts/deploy.sh main --reason first")
        wait_for(lambda: is_healthy(machine), 300, "not everything is healthy")
        lines = measure(machine, seconds)
    finally:
        machine.shut_down()
    sys.exit(1 if lines else 0)


def measure(host, seconds):
    """Print the measurements; return the lines that the journal got meanwhile."""
    write(f"The first {FIRST_SECONDS} s:\n{measure_units(host, FIRST_SECONDS)}")
    journal = Journal(host)
    write(f"{seconds / 60:.0f} minutes:\n{measure_units(host, seconds)}")
    lines = journal.list_messages()
    write(f"{len(lines)} lines in the journal\n")
    for line, count in Counter(lines).most_common():
        write(f"{count:6} {line}\n")
    return lines


def measure_units(host, seconds):
    return host.run(f".venv/bin/python bench/memory.py --seconds {seconds}", seconds=seconds + 120)


def write(text):
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
