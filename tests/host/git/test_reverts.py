"""Which commits of a branch another one has reverted."""

import pytest

from host.git.reverts import parse_reverted

A, B, C = "a" * 40, "b" * 40, "c" * 40


def log(*entries):
    return "".join(f"{one}\n{message}\n\0" for one, message in entries)


def revert(commit, more="."):
    return f'Revert "x"\n\nThis reverts commit {commit}{more}'


@pytest.mark.parametrize(
    ("raw", "reverted"),
    [
        ("", []),
        (log((B, revert(A))), [A]),
        (log((B, revert(A, f", reversing\nchanges made to {C}."))), [A]),
        (log((C, revert(B)), (B, revert(A))), [B]),
        (log((C, f"{revert(A)}\n\n{revert(B)}")), [A, B]),
        # Quoted in a text, and of another form.
        (log((B, f"as in: This reverts commit {A}")), []),
        (log((B, "This reverts commit abc.")), []),
    ],
    ids=["none", "commit", "merge", "of-a-revert", "two", "quoted", "short"],
)
def test_a_revert_counts_unless_it_was_reverted_itself(raw, reverted):
    assert parse_reverted(raw) == reverted


@pytest.fixture
def history(laptop, repository):
    """A branch that main merges and reverts, as `git revert` does it; returns the merge."""
    laptop.commit("main", {"base.txt": "1"})
    laptop.commit("feature", {"base.txt": "1", "feature.txt": "1"})
    laptop.git("checkout", "-q", "main")
    laptop.git("merge", "-q", "--no-ff", "--no-edit", "feature")
    merge = laptop.git("rev-parse", "HEAD").strip()
    laptop.git("revert", "-m", "1", "--no-edit", merge)
    return merge


def list_reverted(laptop, repository):
    repository.fetch(str(laptop.folder))
    heads = [laptop.git("rev-parse", name).strip() for name in ("main", "feature")]
    return repository.list_reverted(*heads)


def test_a_branch_whose_merge_was_reverted_has_a_reverted_commit(laptop, repository, history):
    assert list_reverted(laptop, repository) == [history]


def test_a_revert_that_was_reverted_counts_no_more(laptop, repository, history):
    laptop.git("revert", "--no-edit", "HEAD")
    assert list_reverted(laptop, repository) == []


def test_a_branch_that_has_the_revert_has_none(laptop, repository, history):
    laptop.git("checkout", "-q", "feature")
    laptop.git("merge", "-q", "--no-edit", "main")
    assert list_reverted(laptop, repository) == []


def test_a_commit_of_main_alone_that_was_reverted_is_none_of_the_branchs(laptop, repository):
    laptop.commit("main", {"base.txt": "1"})
    laptop.git("branch", "feature")
    laptop.commit("main", {"base.txt": "1", "main.txt": "1"})
    laptop.git("revert", "--no-edit", "HEAD")
    assert list_reverted(laptop, repository) == []
