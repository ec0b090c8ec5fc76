"""Files in `var` at which tools end their search for configuration in the folders above a tree.

`var` lies in our checkout unless OROBOROS_VAR says otherwise, so pytest, ruff, mypy and whatever
reads the nearest `pyproject.toml` would take the checkout's. Where applications run as users of
their own, the checkout is hidden from them and these files are not needed.
"""

from pathlib import Path

# TMPDIR is private to a command and removed with it: trees must not share a cache.
FILES = {
    "pyproject.toml": "",
    "pytest.ini": "[pytest]\ncache_dir = $TMPDIR/pytest-cache\n",
    "ruff.toml": 'cache-dir = "${TMPDIR}/ruff-cache"\n',
    "mypy.ini": "[mypy]\n",
}


def write_shield(var: Path) -> None:
    """Write the files that are missing or differ."""
    for name, text in FILES.items():
        path = var / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
