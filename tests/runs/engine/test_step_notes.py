"""Notes of steps: only the owner reads a note as its own."""

from runs.engine.step_notes import read_note, write_note

CONTENT = {"run": "one", "fence": 3, "url": "postgresql://secret"}


def test_a_written_note_is_read_back(tmp_path):
    write_note(tmp_path, "database", CONTENT)
    assert read_note(tmp_path, "database") == CONTENT


def test_a_note_is_readable_by_its_owner_only(tmp_path):
    write_note(tmp_path, "database", CONTENT)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


def test_a_note_with_the_expected_items_is_returned(tmp_path):
    write_note(tmp_path, "database", CONTENT)
    assert read_note(tmp_path, "database", {"run": "one", "fence": 3}) == CONTENT


def test_a_note_of_another_fence_is_none(tmp_path):
    write_note(tmp_path, "database", CONTENT)
    assert read_note(tmp_path, "database", {"run": "one", "fence": 4}) == {}


def test_a_missing_note_is_none(tmp_path):
    assert read_note(tmp_path, "database") == {}
    assert read_note(tmp_path / "no-folder", "database") == {}


def test_a_broken_note_is_none(tmp_path):
    (tmp_path / "database.done").write_text('{"run": "on')
    assert read_note(tmp_path, "database") == {}
