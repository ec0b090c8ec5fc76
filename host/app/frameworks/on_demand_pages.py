"""Finds what Astro renders on a server, on demand, where its output is static otherwise."""

import re
from collections.abc import Iterator

from host.files.source_tree import SourceTree

# Source: https://docs.astro.build/en/guides/on-demand-rendering/
NOT_PRERENDERED = re.compile(r"^\s*export\s+const\s+prerender\s*=\s*false\b", re.MULTILINE)
# Server islands, in components too. Source: https://docs.astro.build/en/guides/server-islands/
SERVER_ISLAND = re.compile(r"\sserver:defer\b")
SOURCES = (".astro", ".ts", ".js", ".mjs", ".mts", ".tsx", ".jsx")
ISLANDS = ".astro"
PAGES, ACTIONS = "src/pages", ("src/actions.ts", "src/actions.js", "src/actions/index.ts")
MAX_FILES = 2000


def has_any(tree: SourceTree, folder: str) -> bool:
    """Return whether a page or an endpoint is not prerendered; only MAX_FILES files are read."""
    if any(tree.has_file(f"{folder}/{name}") for name in ACTIONS):
        return True
    for count, path in enumerate(_list_sources(tree, f"{folder}/src")):
        if count == MAX_FILES:
            break
        text = tree.read_source(path)
        is_page = path.startswith(f"{folder}/{PAGES}/")
        if is_page and NOT_PRERENDERED.search(text):
            return True
        if path.endswith(ISLANDS) and SERVER_ISLAND.search(text):
            return True
    return False


def _list_sources(tree: SourceTree, folder: str) -> Iterator[str]:
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        for name in tree.list_files(path):
            if name.endswith(SOURCES):
                yield f"{path}/{name}"
        # Pages are read first: what is added last comes next.
        folders = [f"{path}/{name}" for name in tree.list_folders(path)]
        waiting += sorted(folders, key=lambda one: one == f"{folder}/pages")
