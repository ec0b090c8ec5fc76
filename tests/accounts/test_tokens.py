"""API tokens: their end, rotation, limits to some runs, last use, and rates."""

from datetime import timedelta

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.admin import describe_state
from accounts.models import EXPIRY_WARNING, ApiToken
from accounts.token_throttle import MinuteThrottle
from accounts.tokens import (
    create_token,
    find_token,
    hash_token,
    record_use,
    rotate_token,
    validate_patterns,
)
from core.clock import ClockTimestamp
from host.errors import Refused
from ops.doctor import checks, findings
from runs.models import Run
from runs.rules import Status
from tests.accounts.test_commands import run_command
from tests.factories import LeaseFactory, RunFactory, UserFactory
from web.permissions import ABILITIES, RunLimits, build_branch_regex, is_branch_pattern

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def make_program(secret, **options):
    return Client(
        headers={"authorization": f"Bearer {secret}", "accept": "application/json"}, **options
    )


def post(program, address, **body):
    return program.post(address, body, content_type="application/json")


# --- its end


def test_a_token_expires_after_the_settings_days_unless_another_end_is_asked_for(settings):
    settings.TOKEN_LIFETIME_DAYS = 30
    for options, days in ((["a"], 30), (["b", "--days", "7"], 7), (["c", "--no-expiry"], None)):
        run_command("create_token", options[0], "view", *options[1:])
        token = ApiToken.objects.get(name=options[0])
        lifetime = token.expires_at and token.expires_at - token.created_at
        assert (lifetime and round(lifetime / DAY)) == days


@pytest.mark.parametrize(
    ("left", "is_revoked", "state"),
    [
        (None, False, "valid"),
        (15 * DAY, False, "valid"),
        (13 * DAY, False, "expires soon"),
        (-DAY, False, "expired"),
        (15 * DAY, True, "revoked"),
    ],
)
def test_the_page_states_whether_a_token_ends_soon(left, is_revoked, state):
    at = timezone.now()
    end = None if left is None else at + left
    token = ApiToken(expires_at=end, revoked_at=at if is_revoked else None)
    assert describe_state(token, at) == state


def test_the_page_the_dashboard_and_the_doctor_warn_before_a_token_ends(settings):
    for name, days in (("soon", 3), ("later", 60), ("gone", 5), ("ended", 1)):
        create_token(name, ["view"], created_by="ann", lifetime=days * DAY)
    ApiToken.objects.filter(name="gone").update(revoked_at=ClockTimestamp())
    ApiToken.objects.filter(name="ended").update(expires_at=ClockTimestamp())
    assert [token.name for token in ApiToken.objects.expiring()] == ["soon"]
    with connection.cursor() as cursor:  # in the test's own transaction
        cursor.execute(checks.EXPIRING_TOKENS_QUERY)
        assert cursor.fetchall() == [("soon", 3)]
    assert timedelta(days=14) == EXPIRY_WARNING
    browser = Client()
    browser.force_login(UserFactory(groups=["operator"]))
    page = browser.get(reverse("admin:accounts_apitoken_changelist")).content.decode()
    assert page.count("expires soon") == 1
    dashboard = browser.get(reverse("admin:index")).content.decode()
    assert "Token expires" in dashboard
    viewer = Client()
    viewer.force_login(UserFactory(groups=["viewer"]))
    assert "Token expires" not in viewer.get(reverse("admin:index")).content.decode()


def test_the_doctors_line_names_each_token_and_how_to_rotate_it():
    line = str(findings.report_tokens([("ci", 1), ("agent", 13)]))
    assert "ci within 1 day, agent within 13 days" in line
    assert "manage.py rotate_token <name>" in line
    assert line.startswith("ok")


# --- rotation


def get_status(secret):
    return make_program(secret).get("/api/me").status_code


def test_after_a_rotation_the_old_secret_goes_on_for_the_grace_time():
    old = create_token("ci", ["view"], created_by="ann", lifetime=2 * DAY)
    token = ApiToken.objects.get()
    new = rotate_token(token, lifetime=90 * DAY, grace=timedelta(hours=24))
    assert (get_status(old), get_status(new)) == (200, 200)
    me = make_program(new).get("/api/me").json()
    assert me["name"] == "token ci"
    assert me["token"]["previous_expires_at"] < me["token"]["expires_at"]
    ApiToken.objects.update(previous_expires_at=ClockTimestamp())
    assert (get_status(old), get_status(new)) == (401, 200)


def test_without_a_grace_time_and_after_a_second_rotation_an_old_secret_is_refused():
    secrets = [create_token("ci", ["view"], created_by="ann")]
    for grace in (timedelta(hours=1), timedelta(hours=1), timedelta()):
        secrets.append(rotate_token(ApiToken.objects.get(), lifetime=None, grace=grace))
    assert [get_status(one) for one in secrets] == [401, 401, 401, 200]


def test_a_grace_time_lets_no_secret_outlive_its_own_end():
    old = create_token("ci", ["view"], created_by="ann", lifetime=DAY)
    end = ApiToken.objects.get().expires_at
    rotate_token(ApiToken.objects.get(), lifetime=90 * DAY, grace=timedelta(days=7))
    assert ApiToken.objects.get().previous_expires_at == end
    ApiToken.objects.update(previous_expires_at=ClockTimestamp())
    assert get_status(old) == 401


def test_an_expired_token_is_rotated_and_a_revoked_one_is_not():
    old = create_token("ci", ["view"], created_by="ann", lifetime=DAY)
    ApiToken.objects.update(expires_at=ClockTimestamp())
    new = rotate_token(ApiToken.objects.get(), lifetime=DAY, grace=DAY)
    assert (get_status(old), get_status(new)) == (401, 200)
    ApiToken.objects.get().revoke(by="bob")
    assert get_status(new) == 401
    with pytest.raises(Refused, match="ci is revoked") as refused:
        rotate_token(ApiToken.objects.get(), lifetime=DAY, grace=DAY)
    assert refused.value.code == "token_revoked"


def test_the_command_rotates_a_token_and_prints_the_new_secret():
    old = run_command("create_token", "ci", "view")
    new = run_command("rotate_token", "ci", "--grace-hours", "0", "--days", "5")
    assert ApiToken.objects.get().digest == hash_token(new)
    assert (get_status(old), get_status(new)) == (401, 200)
    with pytest.raises(CommandError, match="no token named other"):
        call_command("rotate_token", "other")


def test_an_operator_rotates_on_the_page_but_not_the_token_of_another_account():
    ann, bob = (UserFactory(username=name, groups=["operator"]) for name in ("ann", "bob"))
    create_token("anns", ["view"], created_by="ann", owner=ann)
    create_token("shells", ["view"], created_by="shell")
    browser = Client()
    browser.force_login(bob)
    statuses = {}
    for token in ApiToken.objects.all():
        address = reverse("admin:accounts_apitoken_rotate", args=[token.pk])
        answer = browser.post(address, {"grace_hours": 1, "days": 5}, follow=True)
        statuses[token.name] = answer.status_code
        assert ("oro_" in answer.content.decode()) == (token.name == "shells")
    assert statuses == {"anns": 403, "shells": 200}
    browser.force_login(ann)
    address = reverse("admin:accounts_apitoken_rotate", args=[ApiToken.objects.get(name="anns").pk])
    assert "oro_" in browser.post(address, {"grace_hours": 1}, follow=True).content.decode()


# --- limits


@pytest.mark.parametrize(
    ("pattern", "branch", "matches"),
    [
        ("feature/*", "feature/a", True),
        ("feature/*", "feature/a/b", True),
        ("feature/*", "xfeature/a", False),
        ("feature/*", "feature", False),
        ("*", "", True),
        ("release-?.[0-9]", "release-1.2", True),
        ("release-?.[0-9]", "release-1.23", False),
        ("v[!0-9]", "vx", True),
        ("v[!0-9]", "v1", False),
        ("a.b", "axb", False),
        ("a+(b)|c", "a+(b)|c", True),
        ("grün/*", "grün/ä", True),
        ("a", "a\n", False),
        ("*a" * 60 + "b", "a" * 200, False),
    ],
)
def test_a_pattern_matches_alike_in_python_and_in_the_database(pattern, branch, matches):
    limits = RunLimits((pattern,))
    assert limits.includes("token ci", branch=branch, created_by="ann") == matches
    RunFactory(branch=branch)
    found = Run.objects.filter(branch__regex=build_branch_regex(pattern)).exists()
    assert found == matches


@pytest.mark.parametrize(
    "pattern", ["", "a b", "a\\b", "[", "a[", "[]", "[^a]", "a^", "x" * 201, "a\n", "a~1", "a:b"]
)
def test_a_malformed_pattern_is_refused(pattern):
    assert not is_branch_pattern(pattern)
    with pytest.raises(ValidationError, match="is no pattern of branches"):
        create_token("ci", ["view"], created_by="ann", limits=RunLimits((pattern,)))
    with pytest.raises(CommandError, match="is no pattern of branches"):
        call_command("create_token", "ci", "view", "--branch", pattern)


@pytest.mark.parametrize(("size", "is_pattern"), [(0, False), (1, True), (200, True), (201, False)])
def test_a_pattern_has_at_most_200_characters(size, is_pattern):
    assert is_branch_pattern("x" * size) is is_pattern


def test_a_token_has_at_most_20_patterns():
    for number in (0, 1, 20):
        validate_patterns(["feature/*"] * number)
    with pytest.raises(ValidationError, match="at most 20 patterns") as refused:
        validate_patterns(["feature/*"] * 21)
    assert refused.value.code == "pattern_malformed"
    with pytest.raises(ValidationError, match=r"^\['a b is no pattern of branches"):
        validate_patterns(["feature/*", "a b", "c d"])


@pytest.fixture
def program():
    secret = create_token("ci", list(ABILITIES), created_by="ann", limits=RunLimits(("feature/*",)))
    return make_program(secret)


def test_every_call_about_another_run_is_refused_by_the_name_of_the_limit(program):
    run = LeaseFactory(held=True, slot__number=1, run__branch="main-fix").run
    address, body = f"/api/runs/{run.pk}", {"run_id": str(run.pk)}
    answers = [
        *(program.get(address + rest) for rest in ("", "/events", "/artifacts", "/diff", "/mails")),
        program.get(f"{address}/artifacts/log"),
        post(program, f"{address}/approve", commit_sha=run.commit_sha),
        post(program, f"{address}/reject", reason="no"),
        *(post(program, f"{address}/{verb}") for verb in ("cancel", "retry", "keep")),
        post(program, "/api/slots/acquire", **body),
        post(program, "/api/slots/preview-1/heartbeat", **body),
        post(program, "/api/slots/preview-1/release", **body),
        post(program, "/api/runs", title="x", branch="main-fix"),
        post(program, "/api/runs", title="x", commit="a" * 40),
        post(program, "/api/runs", title="x", prepare=False),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]) == (403, "token_limited")
        assert "limited to branches feature/*" in answer.json()["detail"]
    assert program.get("/api/runs").json()["results"] == []
    assert Run.objects.get().status == Status.QUEUED


def test_a_limited_token_changes_nothing_that_is_more_than_its_runs(program):
    for address, body in (
        ("/api/shipping/freeze", {"reason": "x"}),
        ("/api/shipping/unfreeze", {"reason": "x"}),
        ("/api/shipping/push", {}),
        ("/api/shipping/revert", {}),
        ("/api/slots/reap-expired", {}),
        ("/api/slots/preview-1/drain", {"reason": "x"}),
        ("/api/slots/preview-1/quarantine", {"reason": "x"}),
        ("/api/releases/r-20261124000000-000000000000/rollback", {"reason": "x"}),
    ):
        answer = post(program, address, **body)
        assert (answer.status_code, answer.json()["error"]) == (403, "token_limited"), address
    assert program.get("/api/slots").status_code == 200


def test_a_token_uses_the_runs_within_its_limits(program):
    mine, other = RunFactory(branch="feature/a"), RunFactory(branch="b")
    assert program.get(f"/api/runs/{mine.pk}").status_code == 200
    assert [one["id"] for one in program.get("/api/runs").json()["results"]] == [str(mine.pk)]
    assert post(program, f"/api/runs/{mine.pk}/cancel").status_code == 200
    other.refresh_from_db()
    assert other.status == Status.QUEUED


def test_a_token_of_its_own_runs_uses_only_those_that_it_made():
    limits = RunLimits(is_own_only=True)
    secret = create_token("ci", ["view", "hold"], created_by="ann", limits=limits)
    program = make_program(secret)
    made = post(program, "/api/runs", title="x", prepare=False).json()
    assert made["created_by"] == "token ci"
    other = RunFactory(created_by="ann")
    refused = program.get(f"/api/runs/{other.pk}")
    assert refused.json()["detail"].startswith("The token is limited to runs that it made:")
    assert [one["id"] for one in program.get("/api/runs").json()["results"]] == [made["id"]]


# --- last use and rates


def test_an_address_is_new_for_a_token_once_and_the_last_hundred_are_remembered():
    secret = create_token("ci", ["view"], created_by="ann")
    addresses = [f"192.0.2.{number}" for number in range(101)]
    assert [record_use(find_token(secret), "192.0.2.0") for _ in range(2)] == [True, False]
    ApiToken.objects.update(known_addresses=addresses[:99])
    for number, first in ((99, "192.0.2.0"), (100, "192.0.2.1")):
        assert record_use(find_token(secret), addresses[number])
        known = ApiToken.objects.get().known_addresses
        assert (len(known), known[0], known[-1]) == (100, first, addresses[number])


def test_of_two_requests_at_once_from_a_new_address_one_finds_it_new():
    secret = create_token("ci", ["view"], created_by="ann")
    first, second = find_token(secret), find_token(secret)
    assert [record_use(token, "192.0.2.7") for token in (first, second)] == [True, False]


@pytest.mark.parametrize(("seconds", "is_written"), [(30, False), (61, True)])
def test_a_use_is_written_again_after_a_minute(seconds, is_written):
    secret = create_token("ci", ["view"], created_by="ann")
    before = timezone.now() - timedelta(seconds=seconds)
    ApiToken.objects.update(last_used_at=before, last_used_address="192.0.2.1")
    record_use(find_token(secret), "192.0.2.7")
    token = ApiToken.objects.get()
    assert (token.last_used_at > before) is is_written
    assert token.last_used_address == ("192.0.2.7" if is_written else "192.0.2.1")


def test_the_last_use_is_recorded_with_its_address_at_most_once_a_minute(
    django_assert_num_queries,
):
    secret = create_token("ci", ["view"], created_by="ann")
    first = Client(headers={"authorization": f"Bearer {secret}"}, REMOTE_ADDR="192.0.2.7")
    first.get("/api/me")
    token = ApiToken.objects.get()
    assert token.last_used_address == "192.0.2.7"
    with django_assert_num_queries(1):  # the token's row
        Client(headers={"authorization": f"Bearer {secret}"}, REMOTE_ADDR="192.0.2.7").get(
            "/api/me"
        )
    assert ApiToken.objects.get().last_used_at == token.last_used_at
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    Client(headers={"authorization": f"Bearer {secret}"}, REMOTE_ADDR="2001:db8::7").get("/api/me")
    assert ApiToken.objects.get().last_used_address == "2001:db8::/64"


def test_requests_above_the_rate_of_a_token_and_of_an_address_get_429(settings, monkeypatch):
    monkeypatch.setattr(MinuteThrottle, "cache", LocMemCache("rates", {}))
    MinuteThrottle.cache.clear()  # mutmut runs a test twice in one process
    settings.API_REQUESTS_PER_TOKEN, settings.API_REQUESTS_PER_ADDRESS = 2, 5
    one, two, three = (
        make_program(create_token(name, ["view"], created_by="ann")) for name in "abc"
    )
    statuses = [program.get("/api/me").status_code for program in (one, one, one, two, two)]
    assert statuses == [200, 200, 429, 200, 200]
    refused = three.get("/api/me")  # the sixth request from this address
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_requests")
    assert "from this address" in refused.json()["detail"]
    assert 0 < int(refused["Retry-After"]) <= 60
    assert three.get("/api/me", REMOTE_ADDR="192.0.2.7").status_code == 200
    person = Client()
    person.force_login(UserFactory(groups=["viewer"]))
    assert person.get("/api/me").json()["token"] is None
    settings.API_REQUESTS_PER_TOKEN = settings.API_REQUESTS_PER_ADDRESS = 0
    assert one.get("/api/me").status_code == 200
