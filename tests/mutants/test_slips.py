"""The slips are kept current: each applies, its tests exist, and a seeded sample is caught."""

import random

import pytest

from host.deadline import Deadline
from tests.mutants import slips
from tests.mutants.checkout import ROOT, copy_checkout
from tests.mutants.slips import CAUGHT, ERROR, NOT_RUN, SURVIVED, Result, Slip

SAMPLE, SEED, SECONDS = 5, 22, 300.0
PATCH = "The limit is 3.\n--- a/limit.py\n+++ b/limit.py\n@@ -1 +1 @@\n-LIMIT = 2\n+LIMIT = 3\n"
LIMIT_TEST = "import limit\n\n\ndef test_limit():\n    assert limit.LIMIT == 2\n"


@pytest.mark.parametrize("slip", slips.read_slips(), ids=lambda slip: slip.name)
def test_slip_applies_and_its_tests_exist(slip):
    assert slip.apply(ROOT, "--check") == ""
    assert slip.tests
    assert slip.find_missing_tests() == []


@pytest.fixture
def make_slip(tmp_path):
    """Make a slip of a small program in a folder of its own: the folder and the slip."""
    (tmp_path / "limit.py").write_text("LIMIT = 2\n")
    (tmp_path / "test_limit.py").write_text(LIMIT_TEST)
    (tmp_path / "test_other.py").write_text("def test_other():\n    pass\n")

    def make(*tests):
        path = tmp_path / "limit.patch"
        path.write_text(PATCH)
        return Slip(path, "The limit is 3.", tests)

    return make


def attempt(slip, seconds=SECONDS):
    [result] = slips.try_slips(slip.path.parent, [slip], Deadline(seconds))
    assert (slip.path.parent / "limit.py").read_text() == "LIMIT = 2\n"
    return result


def test_slip_that_does_not_apply_any_more_is_an_error(make_slip):
    slip = make_slip("test_limit.py")
    (slip.path.parent / "limit.py").write_text("LIMIT = 4\n")
    result = slips.try_slip(slip.path.parent, slip)
    assert (result.outcome, "does not apply" in result.detail) == (ERROR, True)


def test_slip_without_a_test_is_an_error(make_slip):
    slip = make_slip()
    assert slips.try_slip(slip.path.parent, slip).outcome == ERROR


@pytest.mark.full
def test_slip_is_caught_only_by_a_test_that_fails_with_it_and_passes_without(
    make_slip, monkeypatch
):
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    assert attempt(make_slip("test_limit.py")) == Result("limit", CAUGHT)
    assert attempt(make_slip("test_other.py")) == Result("limit", SURVIVED, "The limit is 3.")
    assert attempt(make_slip("test_limit.py::test_gone")).outcome == ERROR
    assert attempt(make_slip("test_limit.py"), seconds=0) == Result("limit", NOT_RUN)


@pytest.mark.full
def test_a_sample_of_the_slips_is_caught():
    chosen = random.Random(SEED).sample(slips.read_slips(), SAMPLE)
    with copy_checkout() as folder:
        results = list(slips.try_slips(folder, chosen, Deadline(SECONDS)))
    assert results == [Result(slip.name, CAUGHT) for slip in chosen]
