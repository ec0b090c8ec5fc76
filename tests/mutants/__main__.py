"""Try the mutants: `python -m tests.mutants`. Exits with 1 if too many of them survive.

Every slip must be caught, and 9 of 10 of the generated mutants that a test could catch.
"""

import argparse
import random
import sys
from collections.abc import Iterable
from pathlib import Path

from host.deadline import Deadline
from tests.mutants import generated
from tests.mutants.checkout import copy_checkout
from tests.mutants.modules import MODULES
from tests.mutants.slips import CAUGHT, Result, Slip, read_slips, try_slips


def main() -> int:
    options = parse_options()
    # Without a choice: all slips, and mutants of every module.
    slips, modules = choose_slips(options), options.modules or list(MODULES)
    slips = [] if options.modules else slips
    deadline = Deadline(options.minutes * 60)
    with copy_checkout() as folder:
        are_caught = not slips or report_slips(folder, slips, deadline)
        if not options.names and options.generated:
            number, seed = options.generated, options.seed
            are_caught &= report_generated(folder, modules, number, seed, deadline)
    return 0 if are_caught else 1


def choose_slips(options: argparse.Namespace) -> list[Slip]:
    """Return the slips that are named, or a sample of all."""
    slips = [slip for slip in read_slips() if not options.names or slip.name in options.names]
    return random.Random(options.seed).sample(slips, min(options.slips, len(slips)))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="try these slips only, and no generated mutant")
    parser.add_argument("--slips", type=int, default=1000, help="try so many slips (all)")
    parser.add_argument(
        "--generated", type=int, default=20, help="try so many generated mutants of a module (20)"
    )
    parser.add_argument(
        "--module",
        action="append",
        choices=MODULES,
        dest="modules",
        metavar="PATH",
        help="try generated mutants of this module only, and no slip; may be repeated",
    )
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


def report_generated(
    folder: Path, modules: Iterable[str], number: int, seed: int, deadline: Deadline
) -> bool:
    """Try generated mutants, and print each module's row and survivors as they come.

    Returns whether enough were caught.
    """
    accepted, rows, are_tried = generated.read_accepted(), [], True
    generated.install_tool(folder)
    print_line(generated.HEADING)
    for module in modules:
        if deadline.has_passed:
            print_line(f"{module:<42} not run")
            continue
        try:
            mutants = generated.try_module(folder, module, number, seed, deadline)
        except RuntimeError as error:
            print_line(f"{module:<42} error: {error}")
            are_tried = False
            continue
        rows.append(generated.count(module, mutants, accepted))
        print_line("\n".join(generated.format_row(rows[-1])))
    share = generated.compute_share(rows)
    print_line(f"{share:.0%} of what a test could catch was caught")
    return are_tried and share >= generated.SHARE


def print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
