"""What a surface answers for a path that is no file of the built frontend.

It is decided when a build is published, from the pages that the build made.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath

from host.errors import Refused
from host.files.public_folder import is_hidden, open_public_folder

INDEX_PAGE = "index.html"
# The names of an output that another one answers for: /api is the backend's, also without one, and
# the others are the surface's health check.
COVERED_FOLDER = "api"
COVERED_NAMES = (COVERED_FOLDER, "health", "healthz", "readyz")


class Fallback(StrEnum):
    """The answer: the index page with 200 (a single-page application), the backend's, or 404."""

    INDEX = "index"
    BACKEND = "backend"
    NONE = "none"


def choose_fallback(
    pages: Sequence[str], is_single_page: bool | None, *, has_backend: bool
) -> Fallback | None:
    """Return the fallback of a frontend with these HTML pages; None if no `/` can be served.

    `is_single_page` is what the manifest says, None if it says nothing: then an application whose
    index page is its only page has its routes in the browser. Two of the pages are enough to tell.
    """
    if INDEX_PAGE not in pages:
        return Fallback.BACKEND if has_backend and not is_single_page else None
    if is_single_page is None:
        is_single_page = len(pages) == 1
    return Fallback.INDEX if is_single_page else Fallback.NONE


def find_fallback(
    root: Path, relative: Path, is_single_page: bool | None, *, has_backend: bool
) -> Fallback:
    """Return the fallback of the frontend in the folder `relative` below `root`.

    Raises Refused `build_failed` as `open_public_folder`, and naming the index page that is missing
    if the frontend has none and no backend answers `/`.
    """
    with open_public_folder(root, relative) as folder:
        pages = _list_some_pages(folder)
        fallback = choose_fallback(pages, is_single_page, has_backend=has_backend)
        if fallback is None:
            raise _refuse_without_index(folder, relative)
    return fallback


def list_covered(folder: int) -> list[str]:
    """Return what is never served of an open output, because its paths are not the frontend's."""
    names = [name for name in COVERED_NAMES if _is_file(folder, name)]
    return [*names, f"{COVERED_FOLDER}/"] if _is_folder(folder, COVERED_FOLDER) else names


def _list_some_pages(folder: int) -> list[str]:
    """Return the index page, if there is one, and one other page, if there is one."""
    index = [INDEX_PAGE] if _is_file(folder, INDEX_PAGE) else []
    other = next((page for page in _walk_pages(folder) if page != INDEX_PAGE), None)
    return [*index, other] if other else index


def _walk_pages(folder: int) -> Iterator[str]:
    """Yield the HTML pages that are served, relative to the open folder; links are not followed."""
    for path, folders, names, inner in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
        parts = PurePosixPath(path).parts
        folders[:] = sorted(name for name in folders if not is_hidden([*parts, name]))
        for name in sorted(names):
            is_page = name.lower().endswith((".html", ".htm")) and not is_hidden([*parts, name])
            if is_page and _is_file(inner, name):
                yield "/".join([*parts, name])


def _is_file(folder: int, name: str) -> bool:
    return stat.S_ISREG(_read_mode(folder, name))


def _is_folder(folder: int, name: str) -> bool:
    return stat.S_ISDIR(_read_mode(folder, name))


def _read_mode(folder: int, name: str) -> int:
    """Return the mode of an entry of the open folder, 0 if there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        return 0


def _refuse_without_index(folder: int, relative: Path) -> Refused:
    """Return the refusal, with the folder that does have an index page if the build made one."""
    deeper = next((page for page in _walk_pages(folder) if page.endswith(f"/{INDEX_PAGE}")), None)
    hint = f" There is {relative / deeper}." if deeper else ""
    return Refused(
        "build_failed",
        f"Nothing would answer /: the build's output has no {relative / INDEX_PAGE}, and no "
        f"backend answers in its place.{hint} Name the folder of the index page in [frontend] "
        "output.",
    )
