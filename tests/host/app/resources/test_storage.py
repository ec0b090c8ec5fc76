"""Storage: folders of a tree that are links to where an application's files are kept."""

import pytest

from host.app.resources import storage
from host.errors import ApplicationRefused

MEDIA = {"media": "backend/media"}


@pytest.mark.parametrize(
    ("tracked", "hidden"),
    [
        (["backend/media/logo.png", "backend/app.py"], "backend/media/logo.png"),
        (["backend/media"], "backend/media"),
        (["backend"], "backend"),
        (["backend/media/.gitkeep", "backend/media/a/.gitignore", "backend/mediathek.py"], ""),
        ([], ""),
    ],
)
def test_storage_that_hides_tracked_files_is_refused_by_their_names(tracked, hidden):
    if not hidden:
        storage.require_untracked(MEDIA, tracked)
        return
    with pytest.raises(ApplicationRefused) as caught:
        storage.require_untracked(MEDIA, tracked)
    assert caught.value.code == "manifest_invalid"
    assert f"git tracks {hidden}," in caught.value.detail


@pytest.fixture
def tree(tmp_path):
    """A tree with a placeholder in the folder of its storage."""
    root = tmp_path / "tree"
    (root / "backend/media").mkdir(parents=True)
    (root / "backend/media/.gitkeep").touch()
    return root


@pytest.fixture
def kept(tmp_path):
    """A folder with the targets of the tree's storage."""
    storage.make_targets(tmp_path / "kept", MEDIA, None)
    return tmp_path / "kept"


def link(tree, kept):
    return storage.link_folders(tree, MEDIA, kept, None)


def test_a_linked_tree_writes_into_the_kept_folder(tree, kept):
    assert storage.locate(tree, MEDIA) == {"OROBOROS_STORAGE_MEDIA": str(tree / "backend/media")}
    assert link(tree, kept) == []
    assert link(tree, kept) == []  # again, as after a crash
    (tree / "backend/media/a.txt").write_text("kept")
    assert (kept / "media/a.txt").read_text() == "kept"
    assert storage.locate(tree, MEDIA) == {"OROBOROS_STORAGE_MEDIA": str(kept / "media")}


def test_files_that_a_build_wrote_are_deleted_with_a_note(tree, kept):
    (tree / "backend/media/built.txt").write_text("built")
    [note] = link(tree, kept)
    assert "backend/media" in note
    assert list((kept / "media").iterdir()) == []


def test_a_link_that_a_build_made_above_the_folder_is_refused(tree, kept, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tree / "backend").rename(tree / "moved")
    (tree / "backend").symlink_to(elsewhere)
    for act in (lambda: link(tree, kept), lambda: storage.make_folders(tree, MEDIA, None)):
        with pytest.raises(ApplicationRefused, match="backend/media cannot be storage"):
            act()
    assert list(elsewhere.iterdir()) == []


def test_a_preview_gets_a_copy_of_the_files_that_the_seed_wrote(tree, tmp_path):
    (tree / "backend/media/a").mkdir()
    (tree / "backend/media/a/b.txt").write_text("seeded")
    (tree / "backend/media/link").symlink_to("/etc/passwd")
    saved, slot = tmp_path / "saved", tmp_path / "slot"
    storage.save_copy(tree, MEDIA, saved)
    storage.fill_targets(slot, MEDIA, saved, None)
    (slot / "media/a/b.txt").write_text("changed")
    (slot / "media/new.txt").touch()
    storage.fill_targets(slot, {**MEDIA, "others": "others"}, saved, None)
    assert (slot / "media/a/b.txt").read_text() == "seeded"
    found = sorted(str(path.relative_to(slot)) for path in slot.rglob("*"))
    assert found == ["media", "media/a", "media/a/b.txt", "others"]
    storage.fill_targets(slot, {}, saved, None)
    assert not slot.exists()
