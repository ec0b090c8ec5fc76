"""Generated mutants: mutmut makes and tries them in the copy, one module after another.

It changes one operator, number, text or argument of a function at a time. Of a survivor either a
test is missing, or `accepted.txt` says why none is needed. It changes neither constants of modules
nor decorated functions: the slips do.
"""

import json
import random
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.deadline import Deadline
from tests.mutants.checkout import ROOT, Completed, isolate_argv, run_in
from tests.mutants.modules import ENDING, MODULES

REQUIREMENTS = ROOT / "requirements" / "mutants.txt"
ACCEPTED = Path(__file__).parent / "accepted.txt"
INSTALL_SECONDS = 300.0
LIST_SECONDS = 120.0
DIFF_SECONDS = 300.0
# How long the tests of one module may take without a mutant, on a busy machine.
TEST_SECONDS = 300.0
# Of the mutants that a test could catch so many must be caught.
SHARE = 0.9
# A test may leave a child in mutmut's process, which waits for any child: one that is no mutant's
# is ignored. The name of the present mutant is written down: it may end mutmut itself.
RUN = """from pathlib import Path
from mutmut.__main__ import cli
from mutmut.workers.isolation import ForkRunner
submit, wait = ForkRunner.submit, ForkRunner.wait_for_result
def submit_mutant(runner, name, *arguments):
    Path("mutants/present").write_text(name)
    submit(runner, name, *arguments)
def wait_for_mutant(runner, timeout=None):
    while True:
        try:
            return wait(runner, timeout)
        except KeyError:
            pass
ForkRunner.submit, ForkRunner.wait_for_result = submit_mutant, wait_for_mutant
cli()"""
LIST = """import json, sys
from pathlib import Path
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.utils.format_utils import get_mutant_name
path = Path(sys.argv[1])
names = mutate_file_contents(str(path), path.read_text()).mutant_names
print(json.dumps([get_mutant_name(path, name) for name in names]))"""
DIFF = """import json, sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
print(json.dumps({name: get_diff_for_mutant(name) for name in sys.argv[1:]}))"""
# The database of the tests is made once for all mutants of a module. A bound of time means
# nothing beside other work. A mutant that waits is ended after twice its tests' time and 90 s:
# on a busy machine one that does not wait takes half a minute for the database alone.
CONFIGURATION = """
[tool.mutmut]
source_paths = [{module}]
also_copy = {copied}
pytest_add_cli_args = [
    "-p", "pytest_django.plugin", "-p", "tests.mutants.hypothesis_profile",
    "-p", "no:cacheprovider", "--reuse-db", "-m", "not full and not alone",
]
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
timeout_multiplier = 2.0
timeout_constant = 45.0
"""
# mutmut's exit codes: a test failed, or pytest itself did; none of the tests ran the function.
CAUGHT_CODES, SURVIVED_CODE, UNTESTED_CODES = (1, 3), 0, (5, 33)
INTERRUPTED_CODE = 2  # the deadline passed during it
# A mutant's that ended mutmut, as each process that it saw; and what mutmut's shell then ends with.
KILLED_CODE, MUTMUT_KILLED = -signal.SIGKILL, 128 + signal.SIGKILL
# What mutmut copies itself, makes or does not need.
NOT_COPIED = {".ci", "docs", "mutants", "pyproject.toml", "tests", "var"}
COLUMNS = ("tried", "caught", "timed out", "wording", "accepted", "survived")
HEADING = f"{'module':<42}" + "".join(f"{name:>10}" for name in COLUMNS) + f"{'share':>7}"
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class Mutant:
    """A mutant that was tried; `change` are the lines that differ, each with `-` or `+` first."""

    name: str
    exit_code: int
    change: tuple[str, ...] = ()

    @property
    def function(self) -> str:
        """The function's dotted name, the same for all its mutants."""
        module, _, function = self.name.rpartition("__mutmut_")[0].rpartition(".x")
        return f"{module}.{function[1:].replace('ǁ', '.')}"

    @property
    def is_caught(self) -> bool:
        # Any code beside CAUGHT_CODES is a time-out or a signal, which people would see as well.
        return self.exit_code not in (SURVIVED_CODE, *UNTESTED_CODES)

    @property
    def is_wording(self) -> bool:
        """Whether only a text for people differs: its wording is not tested."""
        before, after = (
            "\n".join(line[1:] for line in self.change if line[0] == sign) for sign in "-+"
        )
        if TEXT.sub("", before) != TEXT.sub("", after):
            return False
        pairs = zip(TEXT.findall(before), TEXT.findall(after), strict=False)
        changed = [old for old, new in pairs if old != new]
        return bool(changed) and all(" " in text for text in changed)

    @property
    def key(self) -> tuple[str, ...]:
        return (self.function, *self.change)


def try_module(
    folder: Path, module: str, number: int, seed: int, deadline: Deadline
) -> list[Mutant]:
    """Try `number` mutants of the module, chosen by `seed`, until the deadline has passed.

    The copy `folder` has the tool. Raises RuntimeError if the module's tests fail without a mutant,
    and for a module whose mutants could end any process if they cannot be kept from doing so.
    """
    if module in ENDING and not isolate_argv():
        raise RuntimeError("a mutant of it may end any process, and unshare(1) has no namespace")
    configure(folder, module, MODULES[module])
    chosen = choose(list_mutants(folder, module), number, seed)
    codes = run_mutmut(folder, module, chosen, deadline)
    tried = {
        name: code
        for name in chosen
        if (code := codes[name]) is not None and code != INTERRUPTED_CODE
    }
    alive = [name for name, code in tried.items() if not Mutant(name, code).is_caught]
    diffs = read_diffs(folder, alive)
    return [Mutant(name, code, find_change(diffs.get(name, ""))) for name, code in tried.items()]


def find_tool(folder: Path) -> Path:
    """Return the folder of mutmut's packages in the copy."""
    return folder / "var" / "mutmut"


def install_tool(folder: Path) -> None:
    """Install mutmut beside the copy's code."""
    argv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--require-hashes"]
    argv += [
        "--python",
        sys.executable,
        "--target",
        str(find_tool(folder)),
        "-r",
        str(REQUIREMENTS),
    ]
    done = run_in(folder, argv, seconds=INSTALL_SECONDS)
    if done.exit_code != 0:
        raise RuntimeError(f"mutmut was not installed: {done.output}")


def configure(folder: Path, module: str, tests: Sequence[str]) -> None:
    """Have mutmut change this module of the copy only, and run these tests."""
    shutil.rmtree(folder / "mutants", ignore_errors=True)
    # Python never looks again into a folder of its path that was missing when it started.
    (folder / "mutants").mkdir()
    copied = sorted(path.name for path in folder.iterdir() if path.name not in NOT_COPIED)
    text = CONFIGURATION.format(
        module=json.dumps(module), copied=json.dumps(copied), tests=json.dumps(list(tests))
    )
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + text)


def run_tool(folder: Path, code: str, *arguments: str, seconds: float) -> Completed:
    """Run Python code that imports mutmut, in the copy."""
    # A process that a test starts imports the mutants as well, and they import mutmut.
    paths = f"{folder / 'mutants'}:{find_tool(folder)}"
    argv = ["env", f"PYTHONPATH={paths}", sys.executable, "-c", code, *arguments]
    return run_in(folder, argv, seconds=seconds)


def list_mutants(folder: Path, module: str) -> list[str]:
    """Return the names of all mutants of the module."""
    done = run_tool(folder, LIST, module, seconds=LIST_SECONDS)
    if done.exit_code != 0:
        raise RuntimeError(f"mutmut made no mutants of {module}: {done.output[-2000:]}")
    return json.loads(done.output.splitlines()[-1])


def run_mutmut(
    folder: Path, module: str, names: Sequence[str], deadline: Deadline
) -> dict[str, int | None]:
    """Try the mutants of these names, one at a time; returns the exit code of each by its name."""
    killed: dict[str, int] = {}
    waiting = list(names)
    while waiting and not (killed and deadline.has_passed):
        # mutmut writes each result to a file. The last module gets the time that its tests need.
        seconds = max(deadline.seconds_left, TEST_SECONDS)
        done = run_tool(folder, RUN, "run", "--max-children", "1", *waiting, seconds=seconds)
        if done.exit_code in (0, None):
            break
        present = folder / "mutants" / "present"
        if done.exit_code != MUTMUT_KILLED or not present.exists():
            raise RuntimeError(f"the tests fail without a mutant: {done.output[-2000:]}")
        killed[present.read_text()] = KILLED_CODE
        present.unlink()
        codes = read_exit_codes(folder, module)
        waiting = [name for name in waiting if name not in killed and codes[name] is None]
    return {**read_exit_codes(folder, module), **killed}


def read_exit_codes(folder: Path, module: str) -> dict[str, int | None]:
    """Return the exit code of each mutant by its name; None for one that was not tried."""
    path = folder / "mutants" / f"{module}.meta"
    return json.loads(path.read_text())["exit_code_by_key"]


def choose(names: Iterable[str], number: int, seed: int) -> list[str]:
    """Return `number` of the names."""
    names = sorted(names)
    return random.Random(seed).sample(names, min(number, len(names)))


def read_diffs(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the unified diff of each mutant."""
    if not names:
        return {}
    done = run_tool(folder, DIFF, *names, seconds=DIFF_SECONDS)
    return json.loads(done.output.splitlines()[-1])


def find_change(diff: str) -> tuple[str, ...]:
    """Return the changed lines of a diff without their indentation."""
    lines = [
        line for line in diff.splitlines() if line[:1] in "-+" and line[:3] not in ("---", "+++")
    ]
    return tuple(line[0] + line[1:].strip() for line in lines)


def read_accepted(path: Path = ACCEPTED) -> dict[tuple[str, ...], str]:
    """Return the reason of each accepted survivor by its key.

    A block is the function, its changed lines, and a line with `= ` and the reason.
    """
    accepted = {}
    for block in path.read_text().split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            *key, reason = lines
            accepted[tuple(key)] = reason.removeprefix("= ")
    return accepted


@dataclass(frozen=True)
class Row:
    """The numbers of one module in the table; `survivors` are those that nothing excuses.

    `timed_out` are those of the `caught` in which no test failed before the time was over.
    """

    module: str
    tried: int
    caught: int
    timed_out: int
    wording: int
    accepted: int
    survivors: list[Mutant]

    @property
    def catchable(self) -> int:
        return self.tried - self.wording - self.accepted

    @property
    def share(self) -> float:
        return self.caught / self.catchable if self.catchable else 1.0


def count(module: str, mutants: Sequence[Mutant], accepted: Mapping[tuple[str, ...], str]) -> Row:
    """Return the row of the module."""
    alive = [mutant for mutant in mutants if not mutant.is_caught]
    wording = [mutant for mutant in alive if mutant.is_wording]
    excused = [one for one in alive if not one.is_wording and one.key in accepted]
    survivors = [one for one in alive if not one.is_wording and one.key not in accepted]
    caught = [mutant for mutant in mutants if mutant.is_caught]
    timed_out = [mutant for mutant in caught if mutant.exit_code not in CAUGHT_CODES]
    numbers = map(len, (mutants, caught, timed_out, wording, excused))
    return Row(module, *numbers, survivors)


def format_row(row: Row) -> list[str]:
    """Return the module's line of the table, and its survivors with their changes."""
    numbers = (row.tried, row.caught, row.timed_out, row.wording, row.accepted, len(row.survivors))
    lines = [f"{row.module:<42}" + "".join(f"{n:>10}" for n in numbers) + f"{row.share:>7.0%}"]
    for mutant in row.survivors:
        lines += [f"  {mutant.name}", *(f"    {line}" for line in mutant.change)]
    return lines


def compute_share(rows: Sequence[Row]) -> float:
    """Return how many of the mutants that a test could catch were caught, from 0 to 1."""
    catchable = sum(row.catchable for row in rows)
    return sum(row.caught for row in rows) / catchable if catchable else 1.0
