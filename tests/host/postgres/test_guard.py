"""The database guard: URL templates, names and roles."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from host.config import load
from host.errors import Refused
from host.postgres import guard

ENVIRON = {
    "DATABASE_URL": "postgresql://oroboros:s@127.0.0.1:54329/oroboros",
    "PREVIEW_ADMIN_DATABASE_URL": "postgresql://admin:s@127.0.0.1:54329/postgres",
}


def resolve(template, slot_id="preview-1", **environ):
    config = load({**ENVIRON, **environ, guard.SETTING: template})
    return guard.resolve_target(config, config.slot(slot_id))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("postgresql://h/app_preview_1?d%62name=oroboros", "db_url_query"),
        ("postgresql://h/app_preview_1?dbname=app_preview_1&dbname=oroboros", "db_url_query"),
        ("postgresql://localhost/app_preview_1?host=prod.db", "db_url_query"),
        ("postgresql://localhost/app_preview_1?hostaddr=10.0.0.5", "db_url_query"),
        ("postgresql://localhost/app_preview_1?service=prod", "db_url_query"),
        ("postgresql://localhost/app_preview_1?options=-crole%3Dpostgres", "db_url_query"),
        ("postgresql://localhost/{db_name}?sslmode=disable&sslkey=/root/k", "db_url_query"),
        ("postgresql://localhost/app_preview_1#x", "db_url_query"),
        ("postgresql://localhost:5432,prod.db:5433/app_preview_1", "db_url_multihost"),
        ("postgresql://localhost,127.0.0.1/app_preview_1", "db_url_multihost"),
        ("postgresql://localhost:5432,5433/app_preview_1", "db_url_multihost"),
        ("postgresql://localhost@prod.db/app_preview_1", "db_host_not_allowed"),
        ("postgresql://127.0.0.1.evil.example/app_preview_1", "db_host_not_allowed"),
        ("postgresql:///app_preview_1", "db_host_not_allowed"),
        ("postgresql://%2Fvar%2Frun%2Fpostgresql/app_preview_1", "db_url_invalid"),
        ("postgresql://user:p@ss@localhost/app_preview_1", "db_url_invalid"),
        ("postgresql://loc%61lhost/app_preview_1", "db_url_invalid"),
        ("postgresql://localhost]/app_preview_1", "db_url_invalid"),
        ("postgresql://localhost:99999/app_preview_1", "db_url_invalid"),
        ("postgresql://localhost:5o/app_preview_1", "db_url_invalid"),
        ("postgresql://localhost/%zz", "db_url_invalid"),
        ("postgresql://localhost/app_preview_1%00", "db_url_invalid"),
        ("postgresql://localhost/%6froboros", "db_name_protected"),
        ("postgresql://localhost/app_production", "db_name_protected"),
        ("postgresql://localhost/template1", "db_name_protected"),
        ("postgresql://localhost/postgres", "db_name_protected"),
        ("postgresql://localhost/preview_{slot}_" + "x" * 60, "db_name_too_long"),
        ("postgresql://localhost/app_preview_2", "db_name_not_of_slot"),
        ("postgresql://localhost/app_preview_1/x", "db_name_not_of_slot"),
        ("postgresql://localhost/", "db_name_not_of_slot"),
        ("postgresql://localhost/preview_{slot.__class__}", "template_invalid"),
        ("postgresql://localhost/{{db_name}}", "template_invalid"),
        ("postgresql://localhost/{0}", "template_invalid"),
        ("postgresql://localhost/{db_name} dbname=oroboros", "template_invalid"),
        ("postgresql://localhost/{db_name}\n", "template_invalid"),
        ("mysql://localhost/app_preview_1", "db_url_scheme"),
        ("POSTGRESQL://localhost/app_preview_1", "db_url_scheme"),
        ("host=localhost dbname=app_preview_1", "template_invalid"),
        ("postgresql+:// localhost/app_preview_1", "template_invalid"),
        ("postgresql+ps-ycopg://localhost/app_preview_1", "db_url_scheme"),
    ],
)
def test_template_that_could_lead_elsewhere_is_refused(template, reason):
    with pytest.raises(Refused) as refusal:
        resolve(template)
    assert refusal.value.code == "unsafe_database_target"
    assert refusal.value.fields == {guard.SETTING: reason}
    assert reason in refusal.value.detail


def test_refusal_does_not_contain_the_password():
    with pytest.raises(Refused) as refusal:
        resolve("postgresql://user:hunter2@evil.example/app_preview_1")
    assert "hunter2" not in refusal.value.detail


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("postgresql://127.0.0.1:54329/{db_name}", ("postgresql", "127.0.0.1", 54329)),
        ("postgres://localhost/app_preview_{slot_num}", ("postgres", "localhost", 5432)),
        ("postgresql+psycopg://u:p@[::1]:5433/{db_name}", ("postgresql+psycopg", "::1", 5433)),
        ("postgresql://localhost/app%5fpreview_{slot_num}", ("postgresql", "localhost", 5432)),
    ],
)
def test_template_of_the_slots_own_database_is_resolved(template, expected):
    assert resolve(template, "preview-2") == guard.Target(*expected, "app_preview_2")


def test_only_the_host_of_the_admin_url_is_allowed():
    admin = "postgresql://admin@db.internal/postgres"
    template = "postgresql://db.internal/{db_name}"
    assert resolve(template, PREVIEW_ADMIN_DATABASE_URL=admin).host == "db.internal"
    with pytest.raises(Refused, match="db_host_not_allowed"):
        resolve("postgresql://localhost/{db_name}", PREVIEW_ADMIN_DATABASE_URL=admin)


def test_slot_database_of_the_control_plane_is_refused():
    control = "postgresql://oroboros:s@127.0.0.1:54329/app_preview_1"
    with pytest.raises(Refused, match="db_name_protected"):
        resolve("postgresql://localhost/{db_name}", DATABASE_URL=control)


@pytest.mark.parametrize(
    "name",
    [
        "app_preview_1",
        "app_preview_3",
        "app_template_0123456789ab",
        "app_spare_0123456789ab",
        "app_gate_17",
    ],
)
def test_pipeline_names_are_accepted(name):
    assert guard.check_pipeline_name(load(ENVIRON), name) == name


@pytest.mark.parametrize(
    "name",
    [
        "oroboros",
        "app_production",
        "postgres",
        "template1",
        "app_preview_4",
        "app_preview_1\n",
        "app_template_0123456789AB",
        "app_template_1",
        "app_spare_1",
        "app_gate_",
        "app_gate_1;drop",
        "",
        "x" * 64,
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(Refused) as refusal:
        guard.check_pipeline_name(load(ENVIRON), name)
    assert refusal.value.code == "unsafe_database_target"


def test_production_name_has_its_own_check():
    config = load(ENVIRON)
    assert guard.check_production_name(config, "app_production") == "app_production"
    for name in ("app_preview_1", "oroboros", "postgres"):
        with pytest.raises(Refused):
            guard.check_production_name(config, name)
    control_is_production = replace(config, production_database="oroboros")
    with pytest.raises(Refused):
        guard.check_pipeline_name(control_is_production, "oroboros")


def test_only_roles_of_applications_are_accepted():
    config = load(ENVIRON)
    assert guard.check_role(config, "app_preview_1") == "app_preview_1"
    for role in ("postgres", "oroboros", "pg_read_all_data", "app_preview_9"):
        with pytest.raises(Refused):
            guard.check_role(config, role)


@given(st.from_regex(guard.PLAIN_URL, fullmatch=True))
def test_a_plain_url_has_the_fields_that_libpq_reads(url):
    assert guard.parse_url(url) == conninfo_to_dict(url)


def test_the_guard_of_a_plain_template_does_not_import_psycopg():
    # psycopg takes as long to import as the rest of a slot's restart.
    code = (
        "import sys; from host.config import load; from host.postgres import guard;"
        f"config = load({ENVIRON | {guard.SETTING: 'postgresql://127.0.0.1:54329/{db_name}'}!r});"
        "target = guard.resolve_target(config, config.slot('preview-1'));"
        "assert guard.is_administrators_address(config, target);"
        "print('psycopg' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "False\n"), result.stderr
