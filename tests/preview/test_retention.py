"""What is removed once nobody needs it: shared installs, and databases slots were cloned from."""

import json
import os
import time
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command

from oroboros.clock import database_time
from oroboros.lib import installs, locks
from runs import retention, tasks
from runs.models import Event
from runs.repository import repository
from slots.host import guard
from slots.host.database import Admin

WEB = "web: python -m http.server --bind 127.0.0.1 $PORT\n"
TOML = '[backend]\nhealth_path = "/"\n'
DAY = 24 * 3600
OLD = "python-" + 40 * "0"
HALF_BUILT = "app_template_ffffffffffff"


@pytest.fixture
def place(host, tmp_path):
    application = tmp_path / "application"
    application.mkdir()
    (application / "Procfile").write_text(WEB)
    (application / "oroboros.toml").write_text(TOML)
    return host(application)


def store(place):
    return place.config.var / "cache" / "installs"


def make(place, name, *, days):
    """An install of that age, whole."""
    (store(place) / name / ".venv" / "bin").mkdir(parents=True)
    (store(place) / f"{name}.done").touch()
    age(store(place) / name, days)
    age(store(place) / f"{name}.done", days)


def age(path, days):
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def installed(place):
    return sorted(path.name for path in store(place).iterdir() if path.is_dir())


def test_an_install_goes_once_it_is_old_and_neither_slot_nor_release_names_it(place):
    run = place.preview("feature/first", {"README.md": "hello"})
    (used,) = installed(place)
    age(store(place) / f"{used}.done", 15)
    kept, interrupted, young = (f"node-{40 * letter}" for letter in "abc")
    for name, days in ((OLD, 15), (kept, 15), (young, 13)):
        make(place, name, days=days)
    (store(place) / interrupted).mkdir()
    age(store(place) / interrupted, 15)
    build = place.config.var / "releases" / "r-20260101000000-000000000000"
    build.mkdir(parents=True)
    bins = [str(store(place) / kept / "node_modules" / ".bin")]
    (build / "manifest.json").write_text(json.dumps({"bins": bins}))

    said = StringIO()
    call_command("retention", "--dry-run", stdout=said)
    assert OLD in said.getvalue() and OLD in installed(place)
    assert len(retention.remove_unneeded(place.config)) == 2
    assert installed(place) == sorted([used, kept, young])
    told = Event.objects.filter(kind="removed").values_list("text", flat=True)
    assert sorted(text.split()[1] for text in told) == sorted([OLD, interrupted])
    assert place.page().status_code == 200

    tasks.cancel(run, actor="ada")
    place.tidy()
    retention.remove_unneeded(place.config)
    assert installed(place) == sorted([kept, young])
    assert retention.remove_unneeded(place.config) == []


def test_an_install_that_is_used_again_or_made_just_now_stays(place):
    place.preview("feature/first", {"README.md": "hello"})
    (used,) = installed(place)
    assert store(place).joinpath(f"{used}.done").stat().st_mtime > time.time() - 60
    make(place, OLD, days=15)
    assert installs.unused(place.config, 14 * DAY) == [OLD]
    with locks.held(store(place) / f"{OLD}.lock", seconds=0):
        assert not installs.remove(place.config, OLD, 14 * DAY)
    (store(place) / f"{OLD}.done").touch()
    assert not installs.remove(place.config, OLD, 14 * DAY)
    assert (store(place) / f"{OLD}.done").exists()
    assert installed(place) == sorted([used, OLD])


def test_the_setting_says_how_long_an_install_is_kept(place, settings):
    place.preview("feature/first", {"README.md": "hello"})
    make(place, OLD, days=2)
    assert retention.remove_unneeded(place.config) == []
    place.config.environ["RETENTION_INSTALLS_SECONDS"] = str(DAY)
    assert len(retention.remove_unneeded(place.config)) == 1
    assert OLD not in installed(place)


def test_a_template_goes_a_day_after_nobody_needed_it(place):
    admin = Admin(place.config)
    run = place.preview("feature/first", {"README.md": "hello"})
    first = guard.template_name(place.remote_main())
    admin.create(HALF_BUILT, guard.TEMPLATE_ROLE)
    second = guard.template_name(place.commit("main", {"README.md": "main goes on"}))
    repository(place.config).fetch(str(place.remote))

    assert retention.remove_unneeded(place.config) == []
    noted = admin.templates()
    assert noted[first] is None, "the slot can still be reset to it"
    assert noted[HALF_BUILT] is not None
    admin.note_unneeded(HALF_BUILT, database_time() - timedelta(hours=25))
    removed = retention.remove_unneeded(place.config)
    assert [sentence.split()[0] for sentence in removed] == [HALF_BUILT]

    tasks.cancel(run, actor="ada")
    place.tidy()
    place.preview("feature/second", {"README.md": "hello"})
    admin.note_unneeded(first, database_time() - timedelta(hours=25))
    admin.note_unneeded(second, database_time() - timedelta(hours=25))
    retention.remove_unneeded(place.config)
    assert (admin.exists(first), admin.exists(second)) == (False, True)
    assert admin.templates()[second] is None
