"""The addresses within a page that shows a difference."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from runs.comparison.layout import Layout


def build_addresses(page: str, query: Mapping[str, str], layout: Layout) -> dict[str, Any]:
    """Return the template's `all_url`, which shows all files, `path_url`, and others.

    A file's address is `path_url` followed by its quoted path. `split_url` and `space_url` show
    the same in the other layout.
    """

    def build(other: Layout) -> str:
        text = urlencode({**query, **other.query})
        return f"{page}?{text}" if text else page

    all_url = build(layout)
    return {
        "all_url": all_url,
        "path_url": f"{all_url}{'&' if '?' in all_url else '?'}path=",
        "layout": layout,
        "split_url": build(replace(layout, is_split=not layout.is_split)),
        "space_url": build(replace(layout, hides_space=not layout.hides_space)),
    }
