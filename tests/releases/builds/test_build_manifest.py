"""The build manifest: what it says of a build, and which changes it detects."""

import hashlib
import json

import pytest

from host.errors import Refused
from host.files import ownership
from releases.builds import build_manifest


@pytest.fixture
def build(tmp_path):
    """A build of one file and one link, not finalized yet."""
    folder = tmp_path / "r-20261124120000-abcdef012345"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "page").write_text("hi")
    (folder / "app" / "link").symlink_to("page")
    yield folder
    ownership.delete_tree(folder)


def finalize(folder):
    return build_manifest.finalize_build(folder, {"release_id": folder.name})


def test_finalized_build_has_facts_and_checksums_and_is_read_only(build):
    checksum = finalize(build)
    text = (build / build_manifest.MANIFEST).read_bytes()
    assert hashlib.sha256(text).hexdigest() == checksum
    assert json.loads(text)["files"] == {
        "app/link": "link:page",
        "app/page": hashlib.sha256(b"hi").hexdigest(),
    }
    assert build_manifest.read_manifest(build)["release_id"] == build.name
    assert not any(
        path.stat().st_mode & 0o222 for path in [build, *build.rglob("*")] if path.exists()
    )
    build_manifest.verify_build(build, checksum)


def test_incomplete_or_missing_build_has_no_manifest(build, tmp_path):
    assert build_manifest.read_manifest(build) is None
    assert build_manifest.read_manifest(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda app: (app / "page").unlink(), "app/page is missing"),
        (lambda app: (app / "new").write_text("x"), "app/new was added"),
        (lambda app: ((app / "link").unlink(), (app / "link").symlink_to("/etc")), "app/link"),
    ],
)
def test_changed_build_is_refused_by_the_name_of_the_file(build, change, reason):
    checksum = finalize(build)
    (build / "app").chmod(0o755)
    change(build / "app")
    with pytest.raises(Refused, match=reason) as refusal:
        build_manifest.verify_build(build, checksum)
    assert refusal.value.code == "release_corrupt"


def test_manifest_with_another_checksum_is_refused(build):
    finalize(build)
    with pytest.raises(Refused, match=r"manifest\.json was changed"):
        build_manifest.verify_build(build, "0" * 64)


def test_a_file_of_a_shared_install_is_compared_without_reading_it(build, tmp_path):
    shared = tmp_path / "shared"
    shared.write_text("module")
    (build / "app" / "module").hardlink_to(shared)
    checksum = finalize(build)
    listing = build_manifest.read_manifest(build)["files"]
    assert listing["app/module"] == f"shared:6:{int(shared.stat().st_mtime)}"
    shared.unlink()  # as retention removes an install: the build keeps its file
    build_manifest.verify_build(build, checksum)
    (build / "app").chmod(0o755)
    (build / "app" / "module").unlink()
    (build / "app" / "module").write_text("another")
    with pytest.raises(Refused, match="checksum of app/module differs"):
        build_manifest.verify_build(build, checksum)
