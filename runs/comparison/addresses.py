"""The addresses within a page that shows a difference."""

from collections.abc import Mapping
from urllib.parse import urlencode


def build_addresses(page: str, query: Mapping[str, str]) -> dict[str, str]:
    """Return the template's `all_url`, which shows all files, and `path_url`.

    A file's address is `path_url` followed by its quoted path.
    """
    text = urlencode(query)
    return {
        "all_url": f"{page}?{text}" if text else page,
        "path_url": f"{page}?{text}&path=" if text else f"{page}?path=",
    }
