"""A pointer of Git LFS is served by no preview, whether or not there is something to install."""

import pytest

from host.git.checkout_notes import LFS_HEADER
from runs.lifecycle import execution, operations

POINTER = LFS_HEADER.decode() + f"oid sha256:{7:064d}\nsize 132077\n"
SITE = {"Procfile": None, "server.py": None, "release.py": None, "index.html": "<h1>Hi</h1>"}
COPY = "import shutil\nshutil.copytree('public', 'dist')\n"
BUILT = """
[frontend]
build = "python build.py"
output = "dist"
"""


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({**SITE, "logo.png": POINTER}, "logo.png"),
        (
            {
                **SITE,
                "oroboros.toml": BUILT,
                "build.py": COPY,
                "public/index.html": "<h1>Hi</h1>",
                "public/fonts/a.woff2": POINTER,
                "public/.hidden/b.woff2": POINTER,
            },
            "fonts/a.woff2",
        ),
    ],
    ids=["as committed", "copied by a build"],
)
def test_a_preview_with_a_pointer_among_its_files_fails_and_names_it(small, files, name):
    small.commit(branch := f"lfs/{small.commits()}", files)
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "BUILD_FAILED"), run.failure_detail
    assert f"in place of {name}." in run.failure_detail
    assert "git lfs migrate export" in run.next_action
