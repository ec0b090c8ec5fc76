"""Branch names, commit ids and remotes that are refused before git runs."""

import pytest

from host import config
from host.errors import Refused
from host.git import validation

SHA = "0123456789" * 4


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-uorigin",
        "--output=/etc/cron.d/x",
        "main --force",
        "a..b",
        "@",
        "HEAD",
        "FETCH_HEAD",
        "feature:main",
        ":/fix bug",
        "feature.lock",
        "feature.lock/x",
        "refs/heads/main",
        "a//b",
        "/a",
        "a/",
        ".a",
        "a.",
        "a/./b",
        "a~1",
        "a^",
        "a@{1}",
        "a\\b",
        "a*",
        "a\n",
        "a\0b",
        "a\u202eb",
        "\ud800",
        "mai\u200dn",
        "\u200dmain",
        "l\ufffd",
        "a\u00a0b",
        "a\u2028b",
    ],
)
def test_a_name_that_is_not_a_branch_name_is_refused(name):
    with pytest.raises(Refused) as refusal:
        validation.validate_ref(name)
    assert (refusal.value.code, refusal.value.status) == ("ref_invalid", 400)


def test_a_branch_name_of_201_characters_is_refused():
    validation.validate_ref("x" * 200)
    with pytest.raises(Refused) as refusal:
        validation.validate_ref("x" * 201)
    assert refusal.value.code == "ref_too_long"


# What `git check-ref-format --branch` accepts; each is created and fetched by a test below.
VALID = [
    "main",
    "feature/reactions",
    "v1.2",
    "grün",
    "fix-#12",
    "a@b",
    "a@",
    "@x",
    "feat(api)/x",
    "fix/🚀-launch",
    "fix/👩\u200d💻",
    "❤\ufe0f",
    "ada's-try",
    "feature/हिन्दी",
    "نمی\u200cخواهم",
    "wip!now",
    "cafe-nfd-e\u0301",
    "a&b",
    "release;1",
    'x"y',
    "renovate/$pkg",
    "a$(id)",
    "`id`",
    "team|x",
    "50%-off",
    "%s%20",
    "it<3>",
    "{a,b}",
    "a]b",
    "a+b=c,d",
    "HEADER",
    "日本語/ブランチ",
    "עברית",
]


@pytest.mark.parametrize("name", VALID)
def test_a_branch_name_that_git_allows_is_valid(name):
    assert validation.validate_ref(name) == name


def test_branches_of_every_valid_name_are_fetched_and_found(laptop, repository):
    head = laptop.commit("main", {"a": "1"})
    for name in VALID[1:]:
        laptop.git("branch", "--", name, head)
    repository.fetch(str(laptop.folder))
    assert set(repository.list_branch_heads()) == set(VALID)
    for name in ("fix/🚀-launch", 'x"y', "{a,b}", "cafe-nfd-e\u0301", "50%-off"):
        assert repository.find_branch_head(name) == head
        assert repository.read_remote_head(str(laptop.folder), name) == head
    assert repository.find_branch_head("cafe-nfd-\u00e9") is None, "another name for git"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a b", "U+0020 (SPACE)"),
        ("a~1", "'~', U+007E (TILDE)"),
        ("a\u202eb", "contain U+202E (RIGHT-TO-LEFT OVERRIDE)"),
        ("a\x1b", "contain U+001B"),
        ("\ud800", "U+D800"),
        ("l\ufffd", "a byte that is not UTF-8"),
        ("x.lock", "ends with .lock"),
        ("FETCH_HEAD", "another meaning for FETCH_HEAD"),
        ("", "it is empty"),
    ],
)
def test_a_refusal_names_the_character_or_the_rule(name, words):
    with pytest.raises(Refused) as refusal:
        validation.validate_ref(name)
    assert words in refusal.value.detail


def test_a_part_of_a_branch_name_that_no_file_could_have_is_refused():
    validation.validate_ref("🚀" * 62)
    with pytest.raises(Refused) as refusal:
        validation.validate_ref("🚀" * 63)
    assert refusal.value.code == "ref_too_long"


@pytest.mark.parametrize(
    "sha", ["deadbee", "DEADBEEF" * 5, "HEAD~1", "", SHA + "\n", "a" * 41, "0" * 40]
)
def test_a_commit_id_that_is_not_full_and_lower_case_is_refused(sha):
    with pytest.raises(Refused) as refusal:
        validation.validate_sha(sha)
    assert (refusal.value.code, refusal.value.status) == ("sha_invalid", 400)


def test_the_path_of_a_local_remote_may_have_a_blank():
    conf = config.load({"GIT_LOCAL_ROOTS": "/srv/my git"})
    assert validation.validate_remote("/srv/my git/an app.git", conf) == "/srv/my git/an app.git"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "git_url_invalid"),
        ("https://git.example/an app.git", "git_url_invalid"),
        ("file:///etc", "git_url_scheme"),
        ("fd::17/foo", "git_url_scheme"),
        ("ext::sh -c id", "git_url_invalid"),
        ("git@git.example:x.git", "git_url_scheme"),
        ("ssh://-oProxyCommand=touch%20x/repo", "git_url_invalid"),
        ("https://git.example@evil.example/x.git", "git_url_host"),
        ("https://git.example/x.git\n[core]\n\tfsmonitor=touch x", "git_url_invalid"),
        ("http://169.254.169.254/latest/", "git_url_scheme"),
        ("https://user:secret@git.example/x.git", "git_url_invalid"),
        ("https://git.example/x.git?a=b", "git_url_invalid"),
        ("https://git.example:port/x.git", "git_url_invalid"),
        ("https://[bad/x.git", "git_url_invalid"),
        ("/etc", "git_url_path"),
        ("/srv/git/../../etc", "git_url_path"),
        ("--upload-pack=touch x", "git_url_invalid"),
        ("--upload-pack=x", "git_url_scheme"),
        ("relative/path", "git_url_scheme"),
    ],
)
def test_a_remote_that_is_not_allowed_is_refused(url, code):
    conf = config.load({"GIT_LOCAL_ROOTS": "/srv/git", "GIT_ALLOWED_HOSTS": "git.example"})
    with pytest.raises(Refused) as refusal:
        validation.validate_remote(url, conf)
    assert (refusal.value.code, refusal.value.status) == (code, 400)


@pytest.mark.parametrize(
    "url", ["https://git.example/x.git", "ssh://git@git.example:2222/x.git", "/srv/git/x.git"]
)
def test_an_allowed_remote_is_valid(url):
    conf = config.load({"GIT_LOCAL_ROOTS": "/srv/git", "GIT_ALLOWED_HOSTS": "git.example"})
    assert validation.validate_remote(url, conf) == url


def test_without_allowed_hosts_only_the_configured_remotes_host_is_allowed():
    conf = config.load({"GIT_REMOTE_URL": "https://git.example/x.git"})
    validation.validate_remote("https://git.example/y.git", conf)
    with pytest.raises(Refused, match="GIT_ALLOWED_HOSTS"):
        validation.validate_remote("https://other.example/y.git", conf)


def test_a_local_remote_that_is_a_link_out_of_the_roots_is_refused(tmp_path):
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "x.git").symlink_to("/etc")
    conf = config.load({"GIT_LOCAL_ROOTS": str(tmp_path / "roots")})
    with pytest.raises(Refused) as refusal:
        validation.validate_remote(str(tmp_path / "roots" / "x.git"), conf)
    assert refusal.value.code == "git_url_path"


@pytest.mark.parametrize("name", ["0123456789" * 4, "ABCDEF0123" * 4, "0" * 64])
def test_a_branch_name_that_is_a_commit_id_is_refused(name):
    with pytest.raises(Refused, match="for a commit's id") as caught:
        validation.validate_ref(name)
    assert caught.value.status == 400
