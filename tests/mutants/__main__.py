"""Try the slips: `python -m tests.mutants`. Exits with 1 if one is not caught."""

import argparse
import random
import sys
from collections.abc import Iterable
from pathlib import Path

from host.deadline import Deadline
from tests.mutants.checkout import copy_checkout
from tests.mutants.slips import CAUGHT, Result, Slip, read_slips, try_slips


def main() -> int:
    options = parse_options()
    slips = [slip for slip in read_slips() if not options.names or slip.name in options.names]
    slips = random.Random(options.seed).sample(slips, min(options.slips, len(slips)))
    with copy_checkout() as folder:
        are_caught = report_slips(folder, slips, Deadline(options.minutes * 60))
    return 0 if are_caught else 1


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="try these slips only")
    parser.add_argument("--slips", type=int, default=1000, help="try so many slips (all)")
    parser.add_argument("--seed", type=int, default=22, help="chooses which are tried (22)")
    parser.add_argument("--minutes", type=float, default=25.0, help="begin none after that (25)")
    return parser.parse_args()


def report_slips(folder: Path, slips: Iterable[Slip], deadline: Deadline) -> bool:
    """Try the slips and print each result as it comes; returns whether all were caught."""
    results: list[Result] = []
    for result in try_slips(folder, slips, deadline):
        results.append(result)
        print_line(f"{result.outcome:<9} {result.name} {result.detail}".rstrip())
    caught = [result for result in results if result.outcome == CAUGHT]
    print_line(f"{len(caught)} of {len(results)} slips were caught")
    return caught == results


def print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
