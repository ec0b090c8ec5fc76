"""Our merge and `git merge` in a checkout of the base give the same tree or the same conflicts."""

import pytest

from host.errors import Refused
from tests.host.git.laptop import LINKED

LINES = "".join(f"{number}\n" for number in range(1, 41))


def change(number, text):
    lines = LINES.splitlines(keepends=True)
    lines[number - 1] = text + "\n"
    return "".join(lines)


# The base's files, ours after it, theirs after it; what both change merges line by line.
BOTH = ({"f": LINES}, {"f": change(2, "ours")}, {"f": change(38, "theirs")})
APPENDED = ({"f": "# log\n"}, {"f": "# log\n- ours\n"}, {"f": "# log\n- theirs\n"})


def build_case(changes, attributes, *, late=None, theirs=None):
    """Return the three trees with .gitattributes: of all, or added `late` by us or `theirs`."""
    base, ours, other = changes
    return (
        {**base, **attributes},
        {**base, **attributes, **ours, **(late or {})},
        {**base, **attributes, **other, **(theirs or {})},
    )


def nest(changes, folder):
    return tuple({f"{folder}/{name}": text for name, text in files.items()} for files in changes)


ATTRIBUTES = ".gitattributes"
CASES = {
    "none": build_case(BOTH, {}),
    "conflict": build_case(APPENDED, {}),
    "unset": build_case(BOTH, {ATTRIBUTES: "f -merge\n"}),
    "binary": build_case(BOTH, {ATTRIBUTES: "f merge=binary\n"}),
    "macro": build_case(BOTH, {ATTRIBUTES: "f binary\n"}),
    "own macro": build_case(BOTH, {ATTRIBUTES: "[attr]lock -merge -diff\nf lock\n"}),
    "union": build_case(APPENDED, {ATTRIBUTES: "f merge=union\n"}),
    "unknown driver": build_case(BOTH, {ATTRIBUTES: "f merge=npm-merge-driver\n"}),
    "unknown driver, conflict": build_case(APPENDED, {ATTRIBUTES: "f merge=ours\n"}),
    "nested": build_case(nest(BOTH, "a/b"), {"a/.gitattributes": "f -merge\n"}),
    "nested overrides": build_case(
        nest(APPENDED, "a/b"), {ATTRIBUTES: "f -merge\n", "a/b/.gitattributes": "f merge=union\n"}
    ),
    "only ours has them": build_case(APPENDED, {}, late={ATTRIBUTES: "f merge=union\n"}),
    "only theirs has them": build_case(BOTH, {}, theirs={ATTRIBUTES: "f -merge\n"}),
    "line ends": build_case(
        ({"f": "a\nb\nc\n"}, {"f": "a\r\nb\r\nc\r\n"}, {"f": "a\nb\nd\n"}),
        {ATTRIBUTES: "* text=auto eol=crlf\n"},
    ),
    "not text": build_case(BOTH, {ATTRIBUTES: "* -text\n"}),
    "a link": build_case(BOTH, {"attrs": "f -merge\n", ATTRIBUTES: LINKED}),
    "in a folder whose name has a newline": build_case(
        nest(BOTH, "x\ny"), {"x\ny/.gitattributes": "f -merge\n"}
    ),
    "renamed": (
        {"f": LINES, ATTRIBUTES: "g -merge\n"},
        {"g": change(2, "ours"), ATTRIBUTES: "g -merge\n"},
        {"f": change(38, "theirs"), ATTRIBUTES: "g -merge\n"},
    ),
}

CONFLICTS = {
    "conflict",
    "unset",
    "binary",
    "macro",
    "own macro",
    "unknown driver, conflict",
    "nested",
    "in a folder whose name has a newline",
    "renamed",
}
OFTEN = ("conflict", "unset", "union", "nested overrides", "only theirs has them", "line ends")


@pytest.mark.parametrize(
    "name",
    [name if name in OFTEN else pytest.param(name, marks=pytest.mark.full) for name in CASES],
)
def test_a_merge_is_that_of_a_checkout_of_the_base(laptop, repository, name):
    base, ours, theirs = CASES[name]
    laptop.commit("main", base)
    other = laptop.commit("feature", theirs)
    laptop.git("checkout", "-q", "main")
    head = laptop.commit("main", ours)
    repository.fetch(str(laptop.folder))
    merged = repository.merge_trees(head, other)
    assert (merged.tree_id, merged.conflicts) == laptop.merge("feature")
    assert bool(merged.conflicts) == (name in CONFLICTS)
    assert not list(repository.path.glob("attributes-*"))


def test_merging_an_unrelated_history_is_refused_by_a_code_of_its_own(laptop, repository):
    head = laptop.commit("main", {"f": "1\n"})
    other = laptop.git("commit-tree", "-m", "alien", f"{head}^{{tree}}").strip()
    laptop.git("branch", "other", other)
    repository.fetch(str(laptop.folder))
    with pytest.raises(Refused) as refused:
        repository.merge_trees(head, other)
    assert refused.value.code == "unrelated_history"


def test_authors_are_named_by_the_target_branchs_mailmap(laptop, repository):
    base = laptop.commit("main", {"f": "1\n", ".mailmap": "Ada Lovelace <t@example.com>\n"})
    own = {"f": "2\n", ".mailmap": "Someone Else <t@example.com>\n"}
    head = laptop.commit("feature", own)
    repository.fetch(str(laptop.folder))
    assert [entry.author for entry in repository.list_commits(base, head)] == ["Ada Lovelace"]
