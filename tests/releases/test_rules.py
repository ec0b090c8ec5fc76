"""The rules of releases, on values alone."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from host.errors import Refused
from releases import rules
from releases.rules import MigratedRelease


@pytest.mark.parametrize(
    "release_id",
    [
        *("current", "../x", ".", "", "r-2026-abc", "r-20261124120000-ABCDEF012345", "previous"),
        *("r-20261124120000-abcdef012345\n", " r-20261124120000-abcdef012345", "r-" + "1" * 9999),
        *("r-20261124120000-abcdef012345/..", "r-２0261124120000-abcdef012345", "\0"),
    ],
)
def test_malformed_release_id_is_refused(release_id):
    with pytest.raises(Refused) as refusal:
        rules.validate_release_id(release_id)
    assert (refusal.value.code, refusal.value.status) == ("release_id_invalid", 400)
    assert "14 digits" in refusal.value.detail


def test_release_id_has_the_utc_time_and_the_start_of_the_commit():
    at = datetime(2026, 11, 24, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    release_id = rules.make_release_id("ab" * 20, at)
    assert release_id == "r-20261124120000-abababababab"
    assert rules.validate_release_id(release_id) == release_id
    assert at.astimezone(UTC).hour == 12


@pytest.mark.parametrize(
    ("files", "backend", "frontend", "changes"),
    [
        (["frontend/a.js"], "backend", "frontend", False),
        (["README.md", "docs/x.md"], "backend", "frontend", False),
        (["backend/app.py"], "backend", "frontend", True),
        (["Procfile"], "backend", "frontend", True),
        (["oroboros.toml"], "backend", "frontend", True),
        (["uv.lock"], "backend", "frontend", True),
        (["frontend/a.js"], ".", "frontend", False),
        (["app.py"], ".", "frontend", True),
        (["a.js"], ".", ".", True),
        (["a.js"], ".", None, True),
        (["backend2/app.py"], "backend", "frontend", False),
        ([], "backend", "frontend", False),
    ],
)
def test_only_backend_files_need_reload_and_health_gate(files, backend, frontend, changes):
    assert rules.has_backend_changes(files, backend, frontend) is changes


def test_migrations_are_found_by_the_folders_of_the_frameworks():
    files = [
        *("app/migrations/0001_a.py", "db/migrate/2_b.rb", "alembic/versions/c.py"),
        *("src/main/resources/db/migration/V1__a.sql", "db/migration/V2__b.java"),
        *("db/migration/c.xml", "db/migration/d.yml", "db/migration/e.rb"),
    ]
    others = ["app/migrations/__init__.py", "migrations.md", "app/models.py", "x/migrations/a.txt"]
    assert rules.filter_migrations([*files, *others]) == files


def test_only_dropping_and_narrowing_changes_are_irreversible():
    release = MigratedRelease(
        "r-1",
        ["m/0002.py"],
        [
            {"kind": "adds", "text": "adds column a.b"},
            {"kind": "drops", "text": "drops column a.c"},
            {"kind": "narrows", "text": "narrows a.d to varchar(10)"},
        ],
    )
    assert rules.list_irreversible_changes([release]) == [
        "r-1 drops column a.c",
        "r-1 narrows a.d to varchar(10)",
    ]


def test_retention_keeps_the_live_release_even_if_it_is_old():
    assert rules.select_releases_to_keep(["c", "b", "a"], "x", 2) == {"c", "b", "x"}
    assert rules.select_releases_to_keep([], None, 5) == set()


def test_other_colour_of_each_colour():
    assert rules.other_colour("blue") == "green"
    assert rules.other_colour("green") == "blue"


@pytest.mark.parametrize(
    ("connections", "seconds", "limit", "expected"),
    [
        (1, 29.9, 30, False),
        (1, 30, 30, True),
        (0, 0.5, 30, False),
        (0, 1, 30, True),
        (1, 0, 0, True),
    ],
)
def test_backend_is_drained_without_connections_or_time(connections, seconds, limit, expected):
    assert rules.is_drained(connections, seconds, limit) == expected


@pytest.mark.parametrize(
    ("restarts", "delay"),
    [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (7, 60), (10, 60), (11, 60), (10_000, 60)],
)
def test_a_process_that_keeps_ending_is_started_again_after_growing_delays(restarts, delay):
    for seconds, is_due in ((delay - 0.01, False), (delay, True), (delay + 0.01, True)):
        assert rules.is_process_restart_due(restarts, seconds) is is_due
    assert not rules.is_process_restart_due(restarts, 0)
    assert rules.is_process_restart_due(restarts, -0.01)  # the clock was set back


@pytest.mark.parametrize(
    ("restarts", "seconds", "counted"),
    [(0, 0, 1), (3, 0, 4), (3, 119.9, 4), (3, 120, 4), (3, 120.1, 1)],
)
def test_a_process_that_ran_for_two_minutes_counts_its_restarts_from_one(
    restarts, seconds, counted
):
    assert rules.count_process_restart(restarts, seconds) == counted


@pytest.mark.parametrize(("backend", "frontend"), [("", "frontend"), (".", ""), ("", None)])
def test_a_backend_that_is_the_whole_tree_has_every_file_outside_the_frontend(backend, frontend):
    assert rules.has_backend_changes(["app.py"], backend, frontend)
    assert rules.has_backend_changes(["frontend/a.js"], backend, frontend) is not bool(frontend)


def test_the_command_of_a_rollback_names_the_release_and_what_is_accepted():
    assert rules.format_rollback_command("r-1") == "./scripts/rollback.sh r-1"
    command = rules.format_rollback_command("r-1", accept_schema=True)
    assert command == "./scripts/rollback.sh r-1 --accept-schema"
