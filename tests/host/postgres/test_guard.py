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


@pytest.mark.parametrize(
    ("port", "is_valid"), [(0, False), (1, True), (65535, True), (65536, False)]
)
def test_a_port_is_a_number_from_1_to_65535(port, is_valid):
    template = f"postgresql://localhost:{port}/{{db_name}}"
    if is_valid:
        assert resolve(template).port == port
        return
    with pytest.raises(Refused, match="db_url_invalid"):
        resolve(template)


@pytest.mark.parametrize(
    ("size", "reason"),
    [(62, "db_name_not_of_slot"), (63, "db_name_not_of_slot"), (64, "db_name_too_long")],
)
def test_a_database_name_has_at_most_63_bytes(size, reason):
    for name in ("x" * size, "x" * (size - 3) + "%C3%A9x"):
        with pytest.raises(Refused, match=reason):
            resolve(f"postgresql://localhost/{name}")


@pytest.mark.parametrize(
    ("character", "is_refused"),
    [("\x1f", True), (" ", True), ("!", False), ("~", False), ("\x7f", True)],
)
def test_a_template_has_no_blank_and_no_control_character(character, is_refused):
    with pytest.raises(Refused) as refusal:
        resolve(f"postgresql://localhost/{character}")
    assert ("template_invalid" in refusal.value.detail) is is_refused


def test_every_placeholder_is_filled_in_wherever_it_stands():
    assert resolve("postgresql://{slot}:{slot_num}@localhost:543{slot_num}/{db_name}").port == 5431
    with pytest.raises(Refused, match="db_host_not_allowed"):
        resolve("postgresql://{slot}/{db_name}")


TARGET = guard.Target("postgresql+psycopg", "127.0.0.1", 54329, "app_preview_1")


@pytest.mark.parametrize(
    ("admin", "is_the_same"),
    [
        ("postgresql://admin@127.0.0.1:54329/postgres", True),
        ("postgresql://admin@127.0.0.1:54328/postgres", False),
        ("postgresql://admin@localhost:54329/postgres", False),
        ("postgresql://admin@127.0.0.1/postgres", False),
        ("postgresql://admin@127.0.0.1:54329/postgres?hostaddr=10.0.0.5", False),
    ],
)
def test_the_administrators_address_is_its_host_and_port(admin, is_the_same):
    config = load({**ENVIRON, "PREVIEW_ADMIN_DATABASE_URL": admin})
    assert guard.is_administrators_address(config, TARGET) is is_the_same


def test_without_a_port_the_administrator_connects_to_5432():
    config = load({**ENVIRON, "PREVIEW_ADMIN_DATABASE_URL": "postgresql://a@127.0.0.1/postgres"})
    for port, is_the_same in ((5431, False), (5432, True), (5433, False)):
        target = replace(TARGET, port=port)
        assert guard.is_administrators_address(config, target) is is_the_same


def test_the_applications_url_has_the_role_and_its_password_encoded():
    expected = "postgresql+psycopg://app_preview_1:p%2F%40%3A@127.0.0.1:54329/app_preview_1"
    assert guard.application_url(TARGET, "app_preview_1", "p/@:") == expected
    assert guard.server_url(TARGET, "r", "p") == "postgresql://r:p@127.0.0.1:54329/app_preview_1"
    other = replace(TARGET, scheme="postgres", host="::1")
    assert guard.application_url(other, "r", "p") == "postgres://r:p@[::1]:54329/app_preview_1"


OURS = {
    "PGHOST": "127.0.0.1",
    "PGPORT": "54329",
    "PGDATABASE": "app_preview_1",
    "PGUSER": "app_preview_1",
    "DATABASE_URL": "postgresql+psycopg://app_preview_1:s@127.0.0.1:54329/app_preview_1",
}


@pytest.mark.parametrize(
    ("change", "is_refused"),
    [
        ({}, False),
        ({"PGHOST": "127.0.0.2"}, True),
        ({"PGPORT": "54328"}, True),
        ({"PGDATABASE": "oroboros"}, True),
        ({"PGUSER": "oroboros"}, True),
        ({"DATABASE_URL": "postgresql://app_preview_1:s@127.0.0.2:54329/app_preview_1"}, True),
        ({"DATABASE_URL": "postgresql://app_preview_1:s@127.0.0.1:54328/app_preview_1"}, True),
        ({"DATABASE_URL": "postgresql://app_preview_1:s@127.0.0.1:54329/oroboros"}, True),
        ({"DATABASE_URL": "postgresql://oroboros:s@127.0.0.1:54329/app_preview_1"}, True),
        ({"DATABASE_URL": "postgres://127.0.0.1/app_preview_1?host=10.0.0.5"}, True),
        ({"DATABASE_URL": "mysql://elsewhere/oroboros"}, False),
        (dict.fromkeys(OURS), False),
    ],
)
def test_an_environment_names_the_target_and_its_role_only(change, is_refused):
    environment = {name: value for name, value in (OURS | change).items() if value is not None}
    if not is_refused:
        guard.check_environment(TARGET, "app_preview_1", environment)
        return
    with pytest.raises(Refused, match="db_target_is_another"):
        guard.check_environment(TARGET, "app_preview_1", environment)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"PGDATABASE": "a"}, "a"),
        ({"PGDATABASE": ""}, None),
        ({"PGDATABASE": "a", "DATABASE_URL": "postgres://h/b%20c"}, "b c"),
        ({"PGDATABASE": "a", "DATABASE_URL": "postgresql+psycopg://u:p@h:1/b?x=y"}, "b"),
        ({"PGDATABASE": "a", "DATABASE_URL": "postgresql://h"}, None),
        ({"PGDATABASE": "a", "DATABASE_URL": "mysql://h/b"}, "a"),
    ],
)
def test_an_applications_database_is_that_of_its_url(environment, name):
    assert guard.database_name(environment) == name


def test_the_names_that_the_pipeline_makes_are_its_own():
    config = load(ENVIRON)
    template = guard.template_name("0123456789abcdef" * 2)
    names = [template, guard.spare_name(template), guard.gate_name("17-a_b")]
    assert names == ["app_template_0123456789ab", "app_spare_0123456789ab", "app_gate_17-a_b"]
    assert [guard.check_pipeline_name(config, name) for name in names] == names
    assert [guard.has_own_role(name) for name in names] == [True, False, True]
    assert guard.check_role(config, template) == template
    with pytest.raises(Refused, match="role_protected") as refusal:
        guard.check_role(config, names[1])
    assert refusal.value.fields == {"role": "db_role_protected"}


@pytest.mark.parametrize(("size", "is_known"), [(39, True), (40, True), (41, False)])
def test_a_run_in_a_gates_database_name_has_at_most_40_characters(size, is_known):
    assert guard.is_pipeline_database(load(ENVIRON), guard.gate_name("1" * size)) is is_known


def test_production_has_two_roles_and_neither_the_control_planes_nor_the_servers_database():
    config = load(ENVIRON)
    roles = {"app_production", "app_production_release"}
    assert guard.list_production_roles(config) == roles
    assert {guard.check_role(config, role) for role in roles} == roles
    for name in ("oroboros", "postgres", "template1"):
        with pytest.raises(Refused, match="db_name_protected") as refusal:
            guard.check_production_name(replace(config, production_database=name), name)
        assert refusal.value.fields == {"database": "db_name_protected"}
    without_control = load({**ENVIRON, "DATABASE_URL": ""})
    assert guard.check_production_name(without_control, "app_production") == "app_production"
    assert "" not in guard.find_protected_names(without_control)
