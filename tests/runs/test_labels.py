"""The label of a run: one DNS label for each branch name that git allows."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.labels import build_label

# What RFC 1123 allows in a label, and what a browser leaves as it is.
DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
BRANCHES = st.text(
    st.one_of(st.characters(blacklist_characters="\0"), st.sampled_from(string.ascii_letters)),
    min_size=1,
)


@given(BRANCHES)
def test_every_branch_has_one_dns_label(branch):
    label = build_label(branch)
    assert DNS_LABEL.fullmatch(label), (branch, label)
    assert len(label) <= 47
    # "--" in the third and fourth place marks an encoded name (RFC 5891, 4.2.3.1).
    assert "--" not in label
    assert label == build_label(branch, commit="c" * 40, run_id="another run")


@given(st.lists(BRANCHES, min_size=2, max_size=20, unique=True))
def test_branches_with_the_same_slug_have_different_labels(branches):
    assert len({build_label(branch) for branch in branches}) == len(branches)


@pytest.mark.parametrize(
    ("branch", "slug"),
    [
        ("feature/reactions", "feature-reactions"),
        ("Feature/Reactions", "feature-reactions"),
        ("fix_a.b", "fix-a-b"),
        ("über/ÉTÉ", "uber-ete"),
        ("🚀", "branch"),
        ("🚀/go", "go"),
        ("'quoted\"", "quoted"),
        ("xn--a", "xn-a"),
        ("a" * 39 + "/b", "a" * 39),
        ("x" * 200, "x" * 40),
    ],
)
def test_a_label_is_the_slug_of_the_branch_and_a_digest(branch, slug):
    assert re.fullmatch(re.escape(slug) + "-[0-9a-f]{6}", build_label(branch))


def test_a_run_without_a_branch_is_labelled_by_its_commit_or_its_id():
    commit = "0123456789abcdef" * 2 + "01234567"
    assert build_label("", commit=commit).startswith("commit-0123456789ab-")
    assert build_label("", commit=commit, run_id="1") == build_label("", commit=commit, run_id="2")
    assert build_label("", run_id="1") != build_label("", run_id="2")
