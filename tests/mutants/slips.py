"""Slips: wrong changes that were written by hand, one patch each, with the tests that catch it.

`slips/<name>.patch` begins with a sentence that says what would be wrong, and a line `Test: <id>`
for each test that must fail. Lines of context are few, so that a patch outlives changes around it.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from host.deadline import Deadline
from tests.mutants.checkout import ROOT, run_pytest

FOLDER = Path(__file__).parent / "slips"
TEST_SECONDS = 300.0
TEST_LINE = re.compile(r"^Test: (.+)$", re.M)
CAUGHT, SURVIVED, ERROR, NOT_RUN = "caught", "survived", "error", "not run"


@dataclass(frozen=True)
class Slip:
    """A wrong change: `description` says what would be wrong with it, `tests` must fail."""

    path: Path
    description: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    def find_missing_tests(self) -> list[str]:
        """Return those of its tests that do not exist."""
        return [test for test in self.tests if not _is_test(test)]

    def apply(self, folder: Path, *options: str) -> str:
        """Apply the patch to the copy; returns git's message if that fails, else ""."""
        argv = ["git", "apply", *options, str(self.path)]
        # A copy is no repository; if it lay in one, git would look for the files there.
        env = {
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
        }
        done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True)
        return done.stderr.strip() if done.returncode else ""


@dataclass(frozen=True)
class Result:
    """What became of one mutant: caught, survived, error or not run; `detail` says why."""

    name: str
    outcome: str
    detail: str = ""


def read_slips() -> list[Slip]:
    """Return all slips, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.patch"))]


def _read(path: Path) -> Slip:
    text = path.read_text()
    return Slip(path, text.splitlines()[0], tuple(TEST_LINE.findall(text)))


def _is_test(test: str) -> bool:
    path, _, name = test.partition("::")
    file = ROOT / path
    # The name may have that of a class before it.
    return file.is_file() and f"def {name.rpartition('::')[2]}(" in file.read_text()


def try_slips(folder: Path, slips: Iterable[Slip], deadline: Deadline) -> Iterator[Result]:
    """Put each slip into the copy in turn and run its tests.

    The tests must pass without a slip: otherwise every result would be `caught`.
    """
    slips = list(slips)
    tests = sorted({test for slip in slips for test in slip.tests})
    clean = run_pytest(folder, tests, seconds=max(deadline.seconds_left, TEST_SECONDS))
    if clean.exit_code != 0:
        yield Result("the tests without a slip", ERROR, clean.output[-2000:])
        return
    for slip in slips:
        yield Result(slip.name, NOT_RUN) if deadline.has_passed else try_slip(folder, slip)


def try_slip(folder: Path, slip: Slip) -> Result:
    """Put the slip into the copy, run its tests, and take it out again."""
    if not slip.tests:
        return Result(slip.name, ERROR, "it names no test")
    refusal = slip.apply(folder)
    if refusal:
        return Result(slip.name, ERROR, refusal)
    try:
        done = run_pytest(folder, slip.tests, seconds=TEST_SECONDS)
    finally:
        slip.apply(folder, "--reverse")
    if done.exit_code == 1:
        return Result(slip.name, CAUGHT)
    if done.exit_code == 0:
        return Result(slip.name, SURVIVED, slip.description)
    if done.exit_code is None:  # on a busy machine this says nothing about the slip
        return Result(slip.name, ERROR, f"its tests took longer than {TEST_SECONDS:.0f} s")
    return Result(slip.name, ERROR, done.output[-2000:])
