"""Files in `var` at which tools end their search in the folders above an application's tree.

`var` lies in our checkout unless OROBOROS_VAR says otherwise, so pytest, ruff, mypy and whatever
reads the nearest `pyproject.toml` would take the checkout's; its `.gitignore` names `var`, and
tools that honor that file would skip all files of the tree. Where programs of applications have a
/tmp of their own, the checkout is hidden from them too.
"""

from pathlib import Path

# TMPDIR is private to a command and removed with it: trees must not share a cache.
FILES = {
    "pyproject.toml": "",
    # Without the option pytest collects from the folder of its configuration on: users of
    # applications may not list `var`. It is the folder in which pytest is started, as pytest takes
    # it where it finds no configuration.
    "pytest.ini": "[pytest]\ncache_dir = $TMPDIR/pytest-cache\naddopts = --confcutdir=.\n",
    "ruff.toml": 'cache-dir = "${TMPDIR}/ruff-cache"\n',
    "mypy.ini": "[mypy]\n",
    # A repository that does not exist: git answers that there is none, and the search for files
    # named .gitignore ends here.
    ".git": "gitdir: none\n",
    # pytest-django puts the nearest folder above with this file first on Python's path: of the
    # checkout, whose packages have such names as `core`.
    "manage.py": "",
}


def write_shield(var: Path) -> None:
    """Write the files that are missing or differ."""
    for name, text in FILES.items():
        path = var / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o644)  # whatever our umask is: users of applications read them
