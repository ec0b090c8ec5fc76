"""The API under schemathesis, as sessions and tokens of each role: it does what its schema says."""

from collections import Counter
from datetime import timedelta
from ipaddress import IPv4Address
from itertools import count
from uuid import UUID

import pytest
import schemathesis
from django.conf import settings as conf
from django.core import signals
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from accounts.tokens import create_token
from host.errors import Refused
from host.operator_settings import run_time
from runs.lifecycle import operations
from runs.rules import Status
from slots.models import Slot
from tests.factories import RunFactory, UserFactory
from web.permissions import GROUPS

pytestmark = pytest.mark.django_db
load_all_checks()
# The same examples in each run.
SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def the_tests_connection():
    """Have requests leave the connection of the test open, as Django's test client does."""
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


def load_schema(headers, session):
    """Return the API's schema, whose requests have the headers and the variables of the session."""
    inner = get_wsgi_application()
    addresses = count(1)  # requests with an unknown token are limited for each

    def app(environ, start_response):
        environ = {"REMOTE_ADDR": str(IPv4Address(next(addresses))), **environ, **session}
        return inner(environ, start_response)

    return schemathesis.openapi.from_wsgi("/api/schema/", app, headers=headers)


def examine(headers, mode, examples, run):
    """Send generated requests to every operation, and have every answer checked."""
    session = {name: value for name, value in headers.items() if name.startswith("HTTP_")}
    headers = {} if session else headers
    # What a session sends cannot be left out here.
    excluded = [CHECKS.get_one("ignored_auth")] if session else []
    schema = load_schema(headers, session)
    if session:  # it replaces the token, without which a request would be refused
        remove_security(schema.raw_schema)
    failures = []
    for result in schema.get_all_operations():
        operation = result.ok()
        strategy = operation.as_strategy(generation_mode=mode)

        @settings(SETTINGS, max_examples=examples)
        @given(strategy, st.booleans())
        def send(case, is_of_run):
            if mode == GenerationMode.POSITIVE:
                complete(case, run if is_of_run else None)
            case.call_and_validate(headers=headers, excluded_checks=excluded)

        try:
            send()
        except (BaseExceptionGroup, AssertionError) as error:
            failures.append(f"{operation.label}: {error}")
        except Unsatisfiable:
            pass  # nothing of this operation can be wrong
    assert not failures, "\n".join(failures)


def send_sequences(headers, paths, sequences, steps):
    """Send requests that use what earlier answers had, and have every answer checked.

    `paths` is a pattern. Returns how often each operation was answered with each status. Each
    sequence begins with the same rows and files: Hypothesis gives up where the same choices lead
    to other answers.
    """
    answered, failures = Counter(), []
    schema = load_schema(headers, {})
    remove_security(schema.raw_schema)  # the other tests send requests without the token
    schema = schema.include(path_regex=paths)

    class Sequence(schema.as_state_machine()):
        def setup(self):
            self.rows = transaction.atomic()
            self.rows.__enter__()
            run_time.stored_path(conf.OROBOROS).unlink(missing_ok=True)

        def teardown(self):
            transaction.set_rollback(True)
            self.rows.__exit__(None, None, None)

        def before_call(self, case):
            if case.meta.generation.mode == GenerationMode.POSITIVE:
                complete(case, None)
            # An earlier answer may name no run, as that of a free slot does.
            if case.path_parameters.get("run_id") in (None, "None"):
                case.path_parameters["run_id"] = str(UUID(int=0))

        def get_call_kwargs(self, case):
            return {"headers": headers}

        def after_call(self, response, case):
            super().after_call(response, case)
            answered[case.operation.label, response.status_code] += 1

        def validate_response(self, response, case, **options):
            try:
                super().validate_response(response, case, **options)
            except BaseExceptionGroup as error:
                failures.append(f"{case.operation.label}: {error}")

    Sequence.run(settings=settings(SETTINGS, max_examples=sequences, stateful_step_count=steps))
    assert not failures, "\n".join(failures)
    return answered


def remove_security(raw_schema):
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            del operation["security"]


def complete(case, run):
    """Give the case what a schema cannot say: an existing run, a time to come, and which fields
    depend on each other."""
    case.query.pop("cursor", None)  # only a page gives one
    if run is not None and "run_id" in case.path_parameters:
        case.path_parameters["run_id"] = str(run.pk)
    if not isinstance(body := case.body, dict):
        return
    if "until" in body:
        body["until"] = (timezone.now() + timedelta(days=1)).isoformat()
    if "branch" in body:
        body["branch"] = "feature/x"
    if not body.get("path"):
        body.pop("line", None)
    if body.get("force"):
        body["reason"] = "It hangs."
    if "remove" in body:
        body.pop("value", None)
        body.update({} if body["remove"] else {"value": "x"})


def make_token(role):
    secret = create_token(f"fuzz-{role}", sorted(GROUPS[role]), created_by="alice")
    return {"Authorization": f"Bearer {secret}"}


def make_session(role):
    browser = Client()
    browser.force_login(UserFactory(groups=[role]))
    session = browser.cookies[conf.SESSION_COOKIE_NAME].value
    cookies = f"{conf.SESSION_COOKIE_NAME}={session}; {conf.CSRF_COOKIE_NAME}={'a' * 32}"
    return {"HTTP_COOKIE": cookies, "HTTP_X_CSRFTOKEN": "a" * 32}


@pytest.fixture
def run(settings, monkeypatch):
    def resolve(config, branch, commit):
        if not branch and not commit:
            raise Refused("source_required", "Name a branch or a commit.", status=400)
        return operations._validate_source(config, branch, commit) or "a" * 40

    monkeypatch.setattr(operations, "_resolve_commit", resolve)  # there is no remote
    settings.API_REQUESTS_PER_TOKEN = 0  # generated requests come faster
    for slot in settings.OROBOROS.slots:
        Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host=settings.HOST_NAME)
    return RunFactory(status=Status.PREVIEW_READY)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("make", [make_token, make_session])
def test_an_operator_gets_what_the_schema_says(make, mode, run):
    examine(make("operator"), mode, 2, run)


@pytest.mark.full
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("make", [make_token, make_session])
@pytest.mark.parametrize("role", GROUPS)
def test_each_role_gets_what_the_schema_says(role, make, mode, run):
    examine(make(role), mode, 8, run)


RUNS = "^/api/(runs|slots)"


def test_sequences_of_an_operators_requests_get_what_the_schema_says(run):
    answered = send_sequences(make_token("operator"), RUNS, 20, 10)
    # What exists is named by earlier answers only.
    assert any("{" in label and code in (200, 409) for label, code in answered), answered


@pytest.mark.full
@pytest.mark.parametrize("paths", [RUNS, "^/api/"])
@pytest.mark.parametrize("role", GROUPS)
def test_sequences_of_each_roles_requests_get_what_the_schema_says(role, paths, run):
    send_sequences(make_token(role), paths, 40, 12)
