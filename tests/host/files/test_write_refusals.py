"""A refused write is recognized in what programs print, and nothing else is."""

from pathlib import Path

import pytest

from host.files.write_refusals import explain_refused_package_write, explain_refused_write

# What Node prints after the message of an error.
NODE = "  errno: -13,\n  code: 'EACCES',\n  syscall: 'open',\n}\n"


@pytest.mark.parametrize(
    ("output", "path"),
    [
        ("PermissionError: [Errno 13] Permission denied: 'server.pid'", "server.pid"),
        ("OSError: [Errno 30] Read-only file system: '/srv/x/app.log'\n", "/srv/x/app.log"),
        ("Error: EACCES: permission denied, open '/w/.next/trace'\n    at x\n", "/w/.next/trace"),
        ("sh: 1: cannot create logs/a.log: Permission denied", "logs/a.log"),
        ("touch: cannot touch 'a.pid': Permission denied\nbye", "a.pid"),
        ("mkdir: cannot create directory ‘/w/tmp’: Read-only file system", "/w/tmp"),
        (f"Error: EACCES: permission denied, open '/w/app.pid'\n{NODE}", "/w/app.pid could"),
        ("Permission denied @ rb_sysopen - app.pid (Errno::EACCES)", "app.pid could"),
        ("PHP Warning: fopen(cache/x): Failed to open stream: Permission denied", "cache/x could"),
        ("java.io.FileNotFoundException: app.pid (Permission denied)", "app.pid could"),
        ("open data/a.log: permission denied", "data/a.log could"),
        ("sqlite3.OperationalError: attempt to write a readonly database", "SQLite"),
        ("django.db.utils.OperationalError: unable to open database file", "SQLite"),
    ],
)
def test_a_refused_write_names_its_path_and_where_to_write(output, path):
    sentence = explain_refused_write(f"starting\n{output}", Path("/w"))
    assert path in sentence
    assert "$TMPDIR" in sentence
    assert "manifest.md" in sentence


@pytest.mark.parametrize(
    "output",
    [
        "",
        "listening",
        "fe_sendauth: permission denied",
        "kill: Operation not permitted",
        'Os { code: 13, kind: PermissionDenied, message: "Permission denied" }',
    ],
)
def test_other_output_is_not_explained(output):
    assert explain_refused_write(output, Path("/w")) == ""


@pytest.mark.parametrize(
    ("path", "is_beside_the_code"),
    [("data/a.log", True), ("/w/data/a.log", True), ("/slots/1/home/a", False), ("/wa/x", False)],
)
def test_a_file_elsewhere_is_not_said_to_be_beside_the_code(path, is_beside_the_code):
    sentence = explain_refused_write(f"open {path}: permission denied", Path("/w"))
    assert ("beside its code: its files are read-only" in sentence) is is_beside_the_code
    assert ("(umask, chmod)" in sentence) is not is_beside_the_code


@pytest.mark.parametrize(
    ("output", "is_explained"),
    [
        (f"Error: EACCES: permission denied, open 'node_modules/is-odd/index.js'\n{NODE}", True),
        ("sed: cannot open /w/front/node_modules/a/b.js: Permission denied", True),
        ("Error: EACCES: permission denied, open 'dist/node_modules.js'", False),
        ("node_modules/a/b.js: syntax error", False),
    ],
)
def test_a_package_that_a_build_may_not_change_is_explained(output, is_explained):
    sentence = explain_refused_package_write(output)
    assert ("`postinstall` of package.json" in sentence) is is_explained
