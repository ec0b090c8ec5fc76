"""What the doctor says of the token and of the webhook on the forge."""

import pytest

from forges.adapters import github_app
from forges.adapters.inspection import judge_hook, judge_permissions, judge_repository
from host import config as configuration
from ops.doctor import forge_checks
from tests.forges.fake_forge import TOKEN, FakeForge
from tests.forges.test_github_app import write_key

EVENTS = ["pull_request", "push", "issue_comment"]
GITEA_EVENTS = ["push", *(f"pull_request{end}" for end in ("", "_sync", "_label", "_comment"))]


@pytest.fixture
def check(kind, tmp_path):
    """The forge, and the doctor's findings about it by their subject."""
    forge = FakeForge(kind)
    for name in ("token", "secret"):
        (tmp_path / name).write_text(TOKEN)
        (tmp_path / name).chmod(0o600)

    def run(**environ):
        values = {
            "FORGE": kind,
            "FORGE_URL": forge.url,
            "FORGE_REPOSITORY": "team/shop",
            "FORGE_WEBHOOK_SECRET_FILE": str(tmp_path / "secret"),
            "FORGE_TOKEN_FILE": str(tmp_path / "token"),
            **environ,
        }
        found = forge_checks.check_forge(configuration.load(values), lambda: "ping")
        return {one.subject: one for one in found}

    run.forge = forge
    yield run
    forge.close()


def describe_hook(kind, **changes):
    url = f"https://api.example.com/hooks/{kind}"
    if kind == "gitlab":
        events = dict.fromkeys(("push_events", "merge_requests_events", "note_events"), True)
        return {"url": url, "alert_status": "executable", **events, **changes}
    events = EVENTS if kind == "github" else GITEA_EVENTS
    hook = {"config": {"url": url}, "active": True, "events": events}
    return {**hook, "last_response": {"code": 202}, **changes}


REVIEWS_AND_CHECKS = {
    "github": "pull_request_review, status, check_run",
    "gitlab": "pipeline",
    "gitea": "pull_request_review_approved, status",
}


@pytest.mark.parametrize("kind", REVIEWS_AND_CHECKS)
@pytest.mark.parametrize("setting", ["PREVIEW_REQUIRED_CHECKS", "SHIP_REQUIRED_CHECKS"])
def test_reviews_and_checks_need_their_events(check, kind, setting):
    check.forge.hooks = [describe_hook(kind)]
    names = REVIEWS_AND_CHECKS[kind]
    values = {setting: "lint", "APPROVE_BY_REVIEW": "true"}
    hook = check(**values)["webhook on the forge"].observed
    assert f"It lacks the events {names}." in hook
    events = [*describe_hook(kind).get("events", ()), *names.split(", ")]
    more = {"pipeline_events": True} if kind == "gitlab" else {"events": events}
    check.forge.hooks = [describe_hook(kind, **more)]
    assert check(**values)["webhook on the forge"].is_ok


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea", "forgejo"])
def test_the_token_and_the_webhook_on_the_forge_are_confirmed(check, kind):
    check.forge.hooks = [describe_hook(kind)]
    assert all(one.is_ok for one in check().values()), check()
    check.forge.hooks = []
    assert "has no webhook" in check()["webhook on the forge"].observed
    gone = {"alert_status": "disabled"} if kind == "gitlab" else {"active": False}
    check.forge.hooks = [describe_hook(kind, **gone)]
    assert "sends nothing" in check()["webhook on the forge"].observed
    fewer = {"note_events": False} if kind == "gitlab" else {"events": EVENTS[:2]}
    check.forge.hooks = [describe_hook(kind, **fewer)]
    assert "lacks the events" in check()["webhook on the forge"].observed
    check.forge.hooks = None
    assert check()["webhook on the forge"].is_ok
    check.forge.may_push, check.forge.scopes = False, "read_api"
    token = check()["forge's token"]
    assert (token.is_ok, "lacks" in token.observed) == (False, True)


def test_an_app_is_confirmed_with_its_permissions_and_its_last_delivery(check, tmp_path):
    check.forge.app_key = write_key(tmp_path / "app.pem")
    (tmp_path / "app.pem").chmod(0o600)
    values = {
        "FORGE_TOKEN_FILE": "",
        "FORGE_APP_ID": "77",
        "FORGE_APP_KEY_FILE": str(tmp_path / "app.pem"),
    }
    found = check(**values)
    assert "lacks statuses: write" in found["forge's token"].observed
    assert found["webhook on the forge"].observed.endswith("last answer 202")
    check.forge.permissions["statuses"] = "write"
    github_app._tokens.clear()
    assert all(one.is_ok for one in check(**values).values())
    github_app._tokens.clear()
    more = {"SHIP_REQUIRED_CHECKS": "lint", "SHIP_THROUGH": "pull-request"}
    lacks = check(**values, **more)["forge's token"].observed
    assert lacks.endswith("lacks checks: read, contents: write")
    github_app._tokens.clear()


def test_scopes_of_a_classic_token_must_be_enough():
    private, public = {"private": True}, {"private": False}
    assert judge_repository(private, "repo, read:org", "").missing == ()
    assert judge_repository(private, "public_repo", "").missing == ("the scope repo",)
    assert judge_repository(public, "public_repo", "").missing == ()
    assert "expires 2027" in judge_repository(public, None, "2027-01-31").observed


def test_permissions_and_events_name_what_is_missing():
    assert judge_permissions({"checks": "write"}, {"checks": "read"}).missing == ()
    assert judge_permissions({"issues": "read"}, {"issues": "write"}).missing == ("issues: write",)
    assert judge_hook([("https://x/hooks/github/", True, {"*"}, "")], "/hooks/github", EVENTS) == (
        judge_hook([("https://x/hooks/github/", True, set(EVENTS), "")], "/hooks/github", EVENTS)
    )
