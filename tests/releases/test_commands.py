"""The management commands `rollback` and `releases`."""

import json
import sys
from io import StringIO

import pytest
from django.core.management import call_command

from releases.builds.build_folders import build_folder
from releases.models import Release
from tests.releases.production_state import (
    change_file,
    read_state,
    run_rollback_command,
)

pytestmark = pytest.mark.django_db


def test_rollback_without_an_id_suggests_the_last_healthy_release(config, releases, monkeypatch):
    monkeypatch.setattr(sys, "stdin", StringIO())
    before = read_state(config)
    answer, ended = run_rollback_command()
    assert (answer["error"], ended) == ("release_id_missing", 1)
    assert answer["command"] == f"./scripts/rollback.sh {releases[1].pk}"
    assert read_state(config) == before


def test_dry_run_prints_the_plan_and_changes_nothing(config, releases):
    before = read_state(config)
    answer, ended = run_rollback_command(releases[0].pk, "--dry-run")
    assert (answer["ok"], answer["dry_run"], ended) == (True, True, 0)
    assert answer["from_release_id"] == releases[2].pk
    assert read_state(config) == before


def test_releases_are_listed_shown_and_verified(config, releases):
    def answer(*arguments):
        out = StringIO()
        call_command("releases", *arguments, stdout=out, stderr=StringIO())
        return json.loads(out.getvalue())

    listed = answer("list")
    assert [one["release_id"] for one in listed["releases"]] == [r.pk for r in releases[::-1]]
    assert listed["left_out"] == 0
    assert answer("get", releases[0].pk)["release"]["commit_sha"] == "a" * 40
    assert answer("verify", releases[0].pk)["intact"] is True
    change_file(build_folder(config, releases[0].pk))
    with pytest.raises(SystemExit):
        answer("verify", releases[0].pk)


def test_a_list_of_releases_is_short_and_has_the_live_one(config, releases, monkeypatch):
    def answer(*arguments):
        out, messages = StringIO(), StringIO()
        call_command("releases", "list", *arguments, stdout=out, stderr=messages)
        return json.loads(out.getvalue()), messages.getvalue()

    Release.objects.filter(status="live").update(status="retired")
    Release.objects.filter(pk=releases[0].pk).update(status="live")
    monkeypatch.setattr("releases.management.commands.releases.LIST_LIMIT", 1)
    listed, messages = answer()
    # The newest, and the live one, which is older.
    assert [one["release_id"] for one in listed["releases"]] == [releases[2].pk, releases[0].pk]
    assert listed["left_out"] == 1
    assert "and 1 older ones: list --all" in messages
    assert "migrations" not in listed["releases"][0]
    whole, _ = answer("--all")
    assert len(whole["releases"]) == 3
    assert "migrations" in whole["releases"][0]
