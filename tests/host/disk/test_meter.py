"""The measuring unit reads its own user's requests, and looks only in `var`."""

import json
import os

import pytest

from host.disk import meter
from host.disk.meter import Answer


@pytest.fixture
def var(tmp_path, monkeypatch):
    monkeypatch.setattr(meter, "FOLDER", tmp_path)
    var = tmp_path / "var"
    var.mkdir()
    (var / "file").write_bytes(b"x" * 3 * 2**20)
    return var


def answer(folder, var):
    request = {"enough_mb": 10, "places": [[str(folder), None]]}
    (meter.FOLDER / "a.json").write_text(json.dumps(request))
    meter.main("a", var)
    return meter.parse_answer((meter.FOLDER / "a.mb").read_text())


def test_a_request_is_answered(var):
    assert answer(var, var) == Answer(3, has_started=True)


def test_places_outside_of_var_are_refused(var, tmp_path):
    (var / "link").symlink_to("/usr")
    for place in ("/usr", var / "..", var / "link", f"{var}2"):
        with pytest.raises(PermissionError):
            answer(place, var)
        assert not (tmp_path / "a.mb").exists()


def test_a_unit_that_ends_while_it_measures_has_started(var, tmp_path, monkeypatch):
    monkeypatch.setattr(meter.space, "measure", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answer(var, var)
    assert meter.parse_answer((tmp_path / "a.mb").read_text()) == Answer(has_started=True)


def test_a_request_that_is_a_symlink_is_not_read(var, tmp_path):
    (tmp_path / "real").write_text("{}")
    (tmp_path / "b.json").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="symbolic links"):
        meter.main("b", var)


@pytest.mark.root
def test_a_request_of_another_user_is_not_read(var, tmp_path):
    (tmp_path / "c.json").write_text("{}")
    os.chown(tmp_path / "c.json", 60_799, 60_799)
    with pytest.raises(PermissionError):
        meter.main("c", var)
