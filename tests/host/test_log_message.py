"""What the end of a log says about a failure: the message, without stack and terminal codes."""

import pytest

from host import log_message

PYTHON = """\
$ python manage.py migrate
Operations to perform:
  Apply all migrations: shop
Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/django/db/backends/utils.py", line 89, in _execute
    return self.cursor.execute(sql, params)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
psycopg.errors.UndefinedTable: relation "shop_item" does not exist
LINE 1: UPDATE shop_item SET x = 1

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/app/manage.py", line 22, in <module>
    main()
  File "/srv/app/shop/migrations/0002_x.py", line 7, in forwards
    Item.objects.update(x=1)
  File "/venv/lib/python3.11/site-packages/django/db/backends/utils.py", line 89, in _execute
    return self.cursor.execute(sql, params)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
django.db.utils.ProgrammingError: relation "shop_item" does not exist
LINE 1: UPDATE shop_item SET x = 1
               ^
"""
NODE = """\
$ node server.js
/app/server.js:3
throw new Error("no port")
^

Error: no port
    at Object.<anonymous> (/app/server.js:3:7)
    at Module._compile (node:internal/modules/cjs/loader:1554:14)
    at node:internal/main/run_main_module:36:49

Node.js v22.14.0
"""
NPM = """\
npm ERR! code ERESOLVE
npm ERR! ERESOLVE unable to resolve dependency tree
npm ERR!
npm ERR! Found: react@19.0.0
npm ERR! A complete log of this run can be found in: /home/x/.npm/_logs/1-debug-0.log
"""
BUILD = """\
> shop@1.0.0 build
> vite build

\x1b[36mvite v6.0.0 \x1b[32mbuilding for production...\x1b[39m
\x1b[31m✗\x1b[39m Build failed in 12ms
\x1b[31merror during build:
\x1b[31mCould not resolve "./Absent.vue" from "src/main.js"\x1b[31m
file: /app/src/main.js
    at getRollupError (file:///app/node_modules/rollup/dist/es/shared/parseAst.js:401:41)
    at error (file:///app/node_modules/rollup/dist/es/shared/parseAst.js:397:42)
npm error Lifecycle script `build` failed with error:
npm error code 1
npm error path /app
"""
PYTEST = """\
=================================== FAILURES ===================================
    def test_total():
>       assert total() == 3
E       assert 2 == 3

tests/test_cart.py:4: AssertionError
=========================== short test summary info ============================
FAILED tests/test_cart.py::test_total - assert 2 == 3
FAILED tests/test_cart.py::test_tax - KeyError: 'tax'
========================= 2 failed, 40 passed in 0.12s =========================
"""
GUNICORN = """\
[2026-11-28 01:00:00 +0000] [7] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/app/venv/lib/python3.11/site-packages/gunicorn/arbiter.py", line 608, in spawn_worker
    worker.init_process()
  File "/app/site1/wsgi.py", line 3, in <module>
    import absent
ModuleNotFoundError: No module named 'absent'
[2026-11-28 01:00:00 +0000] [7] [INFO] Worker exiting (pid: 7)
[2026-11-28 01:00:00 +0000] [1] [ERROR] Worker (pid:7) exited with code 3
[2026-11-28 01:00:00 +0000] [1] [ERROR] Reason: Worker failed to boot.
"""
JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: no database
\tat shop.Main.main(Main.java:7)
Caused by: java.net.ConnectException: Connection refused
\tat java.base/sun.nio.ch.Net.connect0(Native Method)
\t... 12 more
"""
RUBY = """\
bin/rails aborted!
ActiveRecord::StatementInvalid: PG::UndefinedTable: ERROR:  no relation "x"
/app/db/migrate/1_x.rb:3:in 'change'
\tfrom /app/bin/rails:4:in '<main>'
"""
UV = """\
Resolved 3 packages in 4ms
  × No solution found when resolving dependencies:
  ╰─▶ Because absent was not found in the package registry, your requirements are unsatisfiable.
"""


@pytest.mark.parametrize(
    ("log", "first", "others"),
    [
        (
            PYTHON,
            'django.db.utils.ProgrammingError: relation "shop_item" does not exist',
            ["LINE 1: UPDATE shop_item SET x = 1", "at /srv/app/shop/migrations/0002_x.py line 7"],
        ),
        (NODE, "Error: no port", []),
        (NPM, "npm ERR! code ERESOLVE", ["npm ERR! Found: react@19.0.0"]),
        (BUILD, "error during build:", ['Could not resolve "./Absent.vue" from "src/main.js"']),
        (
            PYTEST,
            "FAILED tests/test_cart.py::test_total - assert 2 == 3",
            ["FAILED tests/test_cart.py::test_tax - KeyError: 'tax'"],
        ),
        (
            GUNICORN,
            "ModuleNotFoundError: No module named 'absent'",
            ["at /app/site1/wsgi.py line 3"],
        ),
        (JAVA, "Caused by: java.net.ConnectException: Connection refused", []),
        (
            RUBY,
            'ActiveRecord::StatementInvalid: PG::UndefinedTable: ERROR:  no relation "x"',
            [],
        ),
        (UV, "  × No solution found when resolving dependencies:", []),
        ("psql:a.sql:1: ERROR:  absent\nHINT: x\n", "psql:a.sql:1: ERROR:  absent", ["HINT: x"]),
        ("one\ntwo\nthree", "one", ["three"]),
        ("$ first\nError: old\n$ second\nits own words\n", "its own words", []),
        ("", "", []),
    ],
)  # fmt: skip
def test_the_message_comes_first_and_the_stack_is_left_out(log, first, others):
    found = log_message.extract_message(log)
    lines = found.split("\n")
    assert lines[0] == first
    assert set(others) <= set(lines)
    assert not any(line.lstrip().startswith(("at Module", "File ", "\tat ")) for line in lines)
    assert len(lines) <= log_message.MAX_LINES
    assert "A complete log" not in found
    assert "\x1b" not in found


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://x.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("10 %\r 50 %\r100 %\r\nnext", "100 %\nnext"),
        ("a\x08b\x07\x00", "ab"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1b(Btext\x1b[?25l\x1b[2K", "text"),
        ("broken \x1b[", "broken "),
        ("broken \x1b]0;title\nnext", "broken \nnext"),
        ("tab\tö ✓", "tab\tö ✓"),
    ],
)
def test_terminal_codes_are_removed(text, plain):
    assert log_message.strip_terminal_codes(text) == plain


def test_the_message_is_bounded():
    log = "Error: " + "x" * 10_000 + "\n" + "more\n" * 1000
    lines = log_message.extract_message(log).split("\n")
    assert len(lines) == log_message.MAX_LINES
    assert len(lines[0]) == log_message.MAX_LINE_LENGTH + 1


def test_a_long_log_is_read_quickly():
    log = "\x1b]" * 20_000 + "a.b." * 5_000 + "\n" + ("(" * 2_000 + "\n") * 20
    assert log_message.extract_message(log)
