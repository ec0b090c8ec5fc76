"""What a command's output becomes in its log: bounded, and without secrets."""

import io
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.masking.masks import MASK, NO_MASKS, create_masks
from host.process import bounded_output
from host.process.bounded_output import BoundedWriter
from tests.host.processes import run

SECRET = "sk_live_51HxYz"


def write(parts, masks=NO_MASKS, head=100, tail=40):
    log = io.BytesIO()
    writer = BoundedWriter(log, masks, head, tail)
    for part in parts:
        writer.write(part)
    writer.finish()
    return log.getvalue()


def test_short_output_is_written_as_it_is():
    assert write([b"one\n", b"two"]) == b"one\ntwo"


def test_of_long_output_the_beginning_and_the_end_are_kept_and_the_cut_is_told():
    lines = [f"line {number}\n".encode() for number in range(1000)]
    written = write(lines).decode().splitlines()
    assert written[0] == "line 0"
    assert written[-1] == "line 999"
    cut = next(line for line in written if line.startswith("[Output beyond 100 bytes"))
    told = written[written.index(cut) + 1]
    kept = sum(len(line) + 1 for line in written if line.startswith("line"))
    assert told == f"[{sum(map(len, lines)) - kept:,} bytes were left out here.]"


def test_a_line_that_has_begun_is_cut_at_the_limit_and_another_one_before_it():
    begun = write([b"a" * 60, b"b" * 60, b"c" * 60])
    assert begun.startswith(b"a" * 60 + b"b" * 40 + b"\n[Output beyond 100 bytes")
    assert write([b"x\n", b"y" * 200]).startswith(b"x\n[Output beyond 100 bytes")


@pytest.mark.parametrize("masks", [NO_MASKS, create_masks([SECRET])])
def test_the_kept_end_is_as_long_as_the_tail_wherever_the_output_ends(masks):
    for count in range(100, 140):
        lines = [b"%07d\n" % number for number in range(count)]
        end = write(lines, masks, head=16, tail=48).rpartition(b"left out here.]\n")[2]
        assert end == b"".join(lines)[-48:] or (len(end) == 40 and b"".join(lines).endswith(end))


@given(
    st.lists(st.sampled_from([SECRET, SECRET[:9], "x" * 30, "\n", "y"]), max_size=60),
    st.integers(1, 50),
)
def test_no_cut_shows_a_part_of_a_secret(words, size):
    raw = "".join(words).encode()
    parts = [raw[start : start + size] for start in range(0, len(raw), size)]
    written = write(parts, create_masks([SECRET])).decode(errors="replace")
    assert SECRET not in written
    # A secret's beginning that stood alone may be written; its second half never does.
    assert SECRET[9:] not in written


def test_a_command_that_prints_much_leaves_a_small_log_and_little_memory(log):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = run("echo first; yes 'a line of a build' | head -c 120000000; echo last", log)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert outcome.exit_code == 0
    assert log.stat().st_size < bounded_output.HEAD_BYTES + bounded_output.TAIL_BYTES + 1000
    text = log.read_text()
    assert text.startswith("first\n")
    assert text.endswith("last\n")
    assert "bytes were left out here" in text
    assert (after - before) / 1024 < 30


def test_a_secret_that_a_command_prints_in_two_writes_is_masked(log):
    script = f"printf 'key {SECRET[:5]}'; sleep 0.2; echo '{SECRET[5:]}'; echo {SECRET}"
    run(script, log, masks=create_masks([SECRET]))
    assert log.read_text() == f"key {MASK}\n{MASK}\n"


def test_the_beginning_is_in_the_log_while_the_command_runs(log):
    stopped = run("echo begun; sleep 60", log, stop=lambda: b"begun" in log.read_bytes())
    assert stopped.stopped


@pytest.mark.parametrize("redirect", ["> /dev/stdout", ">> /proc/self/fd/1", "| tee /dev/stderr"])
def test_a_command_opens_its_output_by_name(log, redirect):
    run(f"echo said {redirect}", log)
    assert "said\n" in log.read_text()
