"""Run the soak by hand: `python -m tests.soak --minutes 30 --seed 7`. Needs what the tests need."""

import argparse
import random
import sys
from pathlib import Path

from tests.soak.soak import run_soak


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--report", type=Path, default=Path("soak-report.json"))
    options = parser.parse_args()
    report = run_soak(options.seed, 60 * options.minutes, options.report)
    sys.stdout.write(f"{report.as_text()}\n")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
