"""The folder that a surface's web server reads."""

import os
import time

import pytest

from host.files.surface_folder import LiveFile, SurfaceFolder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ADDRESS = "127.0.0.1:8101"


@pytest.fixture
def folder(tmp_path):
    return SurfaceFolder(tmp_path)


def write(folder, number, **fields):
    live = LiveFile(number, ADDRESS, COMMIT, **fields)
    with folder.write_version(live) as unfinished:
        (unfinished / "public").mkdir()
    return live


@pytest.mark.parametrize(
    ("live", "text"),
    [
        (
            LiveFile(7, ADDRESS, COMMIT, health_url=f"{ADDRESS}/up?full=1", has_public=True),
            f"7 {ADDRESS} {COMMIT} health={ADDRESS}/up?full=1 public=yes fallback=index\n",
        ),
        (LiveFile(7, ADDRESS, COMMIT), f"7 {ADDRESS} {COMMIT} health=- public=no fallback=index\n"),
        (
            LiveFile(1, ADDRESS, "-", "-", "free", f"{ADDRESS}/health"),
            f"1 {ADDRESS} - - free health={ADDRESS}/health public=no fallback=index\n",
        ),
        (
            LiveFile(7, ADDRESS, COMMIT, None, None, f"{ADDRESS}/", is_health_guess=True),
            f"7 {ADDRESS} {COMMIT} health={ADDRESS}/ public=no fallback=index check=any,http\n",
        ),
        (
            LiveFile(7, ADDRESS, COMMIT, None, None, f"{ADDRESS}/", is_https=True),
            f"7 {ADDRESS} {COMMIT} health={ADDRESS}/ public=no fallback=index check=2xx,https\n",
        ),
    ],
)
def test_live_file_is_one_line_and_is_parsed_back(live, text):
    assert str(live) == text
    assert LiveFile.parse(text) == live


def test_live_file_without_a_health_check_is_parsed():
    assert LiveFile.parse(f"7 {ADDRESS} {COMMIT}\n") == LiveFile(7, ADDRESS, COMMIT)


@pytest.mark.parametrize("text", ["", f"7 {ADDRESS}", f"7 {ADDRESS} {COMMIT}", "7 x y\n"])
def test_incomplete_live_file_is_none(text):
    assert LiveFile.parse(text) is None


def test_switch_and_clear_change_what_is_current(folder):
    assert folder.read_current() is None
    assert folder.next_number() == 1
    first = write(folder, 1)
    assert folder.next_number() == 2
    second = write(folder, 2)
    folder.switch(1)
    assert folder.read_current() == first
    folder.switch(2)
    assert (folder.read_current(), folder.read_version(1)) == (second, first)
    for _ in range(2):
        folder.clear()
        assert folder.read_current() is None


def test_version_of_a_used_number_is_replaced(folder):
    write(folder, 1)
    (folder.version(1) / "old").touch()
    second = write(folder, 1, has_public=True)
    assert folder.read_version(1) == second
    assert not (folder.version(1) / "old").exists()


def test_failed_write_creates_no_version_and_its_remnant_is_removed(folder):
    write(folder, 1)
    with pytest.raises(KeyError), folder.write_version(LiveFile(2, ADDRESS, COMMIT)):
        raise KeyError
    assert folder.read_version(2) is None
    assert len(list(folder.versions.iterdir())) == 2
    folder.remove_superseded(60)
    assert [entry.name for entry in folder.versions.iterdir()] == ["1"]


def test_superseded_versions_are_removed_after_their_grace(folder):
    for number in (1, 2, 10):
        write(folder, number)
    past = time.time() - 6000
    os.utime(folder.version(2), (past, past))
    folder.remove_superseded(3000)
    assert sorted(entry.name for entry in folder.versions.iterdir()) == ["10", "2"]


def test_next_number_follows_the_largest_although_older_versions_were_removed(folder):
    for number in (2, 9, 10):
        write(folder, number)
    assert folder.next_number() == 11
    folder.remove_all_except([10])
    assert folder.next_number() == 11


@pytest.mark.parametrize(("seconds", "kept"), [(2500, ["1", "2"]), (3500, ["2"])])
def test_version_stays_for_its_grace_after_it_was_superseded_whatever_its_age(
    folder, seconds, kept
):
    for number in (1, 2):
        write(folder, number)
    ages = {1: 36_000, 2: seconds}
    for number, age in ages.items():
        past = time.time() - age
        os.utime(folder.version(number), (past, past))
    folder.remove_superseded(3000)
    assert sorted(entry.name for entry in folder.versions.iterdir()) == kept


def test_remove_all_except_returns_the_removed_numbers(folder):
    for number in (1, 2, 3):
        write(folder, number)
    (folder.versions / "fresh-x").mkdir()
    assert folder.remove_all_except([2]) == [1, 3]
    assert [entry.name for entry in folder.versions.iterdir()] == ["2"]


@pytest.mark.parametrize("change", ["switch", "clear", "restart_age"])
def test_the_age_counts_from_the_last_switch_or_removal(folder, change):
    write(folder, 1)
    folder.switch(1)
    past = time.time() - 10_000
    os.utime(folder.link, (past, past), follow_symlinks=False)
    assert folder.read_age() >= 9999
    folder.switch(1) if change == "switch" else getattr(folder, change)()
    assert folder.read_age() < 5000


def test_the_age_of_a_surface_that_never_served_is_large(folder):
    assert folder.read_age() > 10**6
