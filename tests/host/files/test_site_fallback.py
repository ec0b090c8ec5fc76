"""What answers a path that is no file of a build."""

from pathlib import Path

import pytest

from host.files.public_folder import open_public_folder
from host.files.site_fallback import Fallback, choose_fallback, find_fallback, list_covered

INDEX, OTHER = "index.html", "about/index.html"


@pytest.mark.parametrize(
    ("pages", "declared", "has_backend", "fallback"),
    [
        ([INDEX], None, False, Fallback.INDEX),
        ([INDEX], None, True, Fallback.INDEX),
        ([INDEX], False, False, Fallback.NONE),
        ([INDEX, OTHER], None, True, Fallback.NONE),
        ([INDEX, OTHER], True, False, Fallback.INDEX),
        ([OTHER], None, True, Fallback.BACKEND),
        ([OTHER], None, False, None),
        ([OTHER], True, True, None),
        ([], False, True, Fallback.BACKEND),
        ([], False, False, None),
    ],
)
def test_pages_manifest_and_backend_decide(pages, declared, has_backend, fallback):
    assert choose_fallback(pages, declared, has_backend=has_backend) == fallback


def test_hidden_pages_and_links_do_not_count(tmp_path):
    (tmp_path / "dist" / ".vite").mkdir(parents=True)
    (tmp_path / "dist" / "index.html").write_text("home")
    (tmp_path / "dist" / ".vite" / "report.html").write_text("report")
    (tmp_path / "dist" / "link.html").symlink_to("index.html")
    relative = (tmp_path / "dist").relative_to(tmp_path)
    assert find_fallback(tmp_path, relative, None, has_backend=False) == Fallback.INDEX
    (tmp_path / "dist" / "404.HTM").write_text("lost")
    assert find_fallback(tmp_path, relative, None, has_backend=False) == Fallback.NONE


def test_what_the_backend_or_the_health_check_answers_for_is_named(tmp_path):
    for name in ("health", "readyz", "api.html", "health.html", "about"):
        (tmp_path / name).write_text("page")
    (tmp_path / "healthz").mkdir()
    (tmp_path / "api").mkdir()
    with open_public_folder(tmp_path, Path()) as folder:
        assert list_covered(folder) == ["health", "readyz", "api/"]
    (tmp_path / "api").rmdir()
    (tmp_path / "api").symlink_to("about")  # which is left out as a link
    with open_public_folder(tmp_path, Path()) as folder:
        assert list_covered(folder) == ["health", "readyz"]
