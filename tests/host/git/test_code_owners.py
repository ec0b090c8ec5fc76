"""CODEOWNERS: GitHub's patterns, of which the last that matches decides."""

import pytest

from host.git.code_owners import find_owners, normalize_owner, parse_rules

# Source: https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/
# customizing-your-repository/about-code-owners
EXAMPLE = """
# comment
*       @global-owner1 @global-owner2
*.js    @js-owner #This is an inline comment.
*.go docs@example.com
*.txt @octo-org/octocats
/build/logs/ @doctocat
docs/* docs@example.com
apps/ @octocat
/docs/ @doctocat
/scripts/ @doctocat @octocat
**/logs @octocat
/apps/ @octocat
/apps/github
with\\ blank/ @blank
/deep/**/end.c @deep
"""


@pytest.mark.parametrize(
    ("path", "owners"),
    [
        ("README", {"@global-owner1", "@global-owner2"}),
        ("a/b/c.js", {"@js-owner"}),
        ("x.go", {"docs@example.com"}),
        ("a.txt", {"@/octocats"}),
        ("build/logs/a/b", {"@octocat"}),  # **/logs comes later
        ("x/build/logs2/a.go", {"docs@example.com"}),
        ("docs/a/b.js", {"@doctocat"}),
        ("x/docs/a.py", {"@global-owner1", "@global-owner2"}),
        ("apps/a", {"@octocat"}),
        ("apps/github/a", set()),
        ("x/apps/a", {"@octocat"}),
        ("scripts/a", {"@doctocat", "@octocat"}),
        ("deeply/logs", {"@octocat"}),
        ("with blank/a", {"@blank"}),
        ("deep/end.c", {"@deep"}),
        ("deep/a/b/end.c", {"@deep"}),
    ],
)
def test_the_last_pattern_that_matches_a_path_names_its_owners(path, owners):
    assert find_owners(parse_rules(EXAMPLE), path) == owners


def test_a_folders_star_matches_only_what_lies_directly_in_it():
    rules = parse_rules("docs/* @a\n")
    assert find_owners(rules, "docs/x.md") == {"@a"}
    assert find_owners(rules, "docs/build/x.md") == set()


@pytest.mark.parametrize("line", ["[Section] @a", "^[Optional][2] @a", "!x @a", "# x @a", "", "  "])
def test_a_line_that_is_no_pattern_owns_nothing(line):
    assert parse_rules(line) == []


def test_owners_are_compared_in_small_letters_and_teams_without_their_organization():
    assert normalize_owner("@Ann") == "@ann"
    assert normalize_owner("@Org/Team") == "@/team"
    assert normalize_owner("Ann@Example.com") == "ann@example.com"
    assert find_owners(parse_rules("* @Ann not-an-owner"), "x") == {"@ann"}
    assert parse_rules("* @a\n" * 800_000) == []  # longer than GitHub reads


def test_a_pattern_of_many_stars_is_matched_in_no_time():
    rules = parse_rules("*a" * 40 + "b @a\n" + "**/" * 40 + "b @b\n")
    assert find_owners(rules, "a" * 200 + "/" + "a/" * 60 + "c") == set()


@pytest.mark.parametrize("end", ["\x0c", "\x85", "\u2028"])
def test_a_comment_ends_at_a_line_feed_only(end):
    rules = parse_rules(f"* @owner\r\n# before:{end}* @evil\n")
    assert find_owners(rules, "a") == {"@owner"}
