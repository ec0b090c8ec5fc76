"""Quickstart's first release: what it prints of the log, its limit, and how it fails."""

import textwrap

import pytest

from host import config as configuration
from host.errors import Refused
from host.files import safe_files
from ops import progress, quickstart


@pytest.fixture
def ship(tmp_path, monkeypatch):
    """Ship the first release of a checkout whose manage.py has that body; return what is printed.

    `print_line` is called with each line that quickstart prints.
    """
    lines = []

    def run(body, *, earlier="", print_line=lambda line: None, **environ):
        (tmp_path / "manage.py").write_text(textwrap.dedent(body))
        values = {"OROBOROS_VAR": str(tmp_path / "var"), **environ}
        config = configuration.load(values, home=tmp_path)
        log = config.var / "log" / "deploy.log"
        log.parent.mkdir(parents=True)
        safe_files.write_atomic(log, earlier.encode())

        def record(line):
            lines.append(line)
            print_line(line)

        monkeypatch.setattr(progress, "print_line", record)
        quickstart.ship_first_release(config, {})
        return lines

    return run


def test_the_log_of_the_first_release_is_printed_while_it_grows(ship, tmp_path):
    seen = tmp_path / "seen"
    # It goes on only once its first line was printed.
    body = f"""\
        import pathlib, time
        print("building", flush=True)
        while not pathlib.Path({str(seen)!r}).exists():
            time.sleep(0.01)
        print('{{"ok": true}}')
        """
    lines = ship(
        body, earlier="of the attempt before\n", print_line=lambda line: seen.write_text(line)
        if line == "  building"
        else None,
    )  # fmt: skip
    assert "  building" in lines
    assert not any("ok" in line or "attempt before" in line for line in lines)


def test_a_failed_first_release_quotes_only_this_attempt(ship):
    with pytest.raises(Refused) as refusal:
        ship('raise SystemExit("of this attempt")', earlier="of the attempt before\n")
    assert "of this attempt" in refusal.value.detail
    assert "of the attempt before" not in refusal.value.detail


def test_a_first_release_beyond_its_limit_names_the_setting(ship, monkeypatch):
    monkeypatch.setattr(quickstart, "STEPS_ALLOWED", 0.001)
    with pytest.raises(Refused) as refusal:
        ship("import time\ntime.sleep(600)", STEP_TIMEOUT_SECONDS="1800")
    assert "was ended after 2 s, four times STEP_TIMEOUT_SECONDS" in refusal.value.detail
    assert "deploy.log" in refusal.value.detail
