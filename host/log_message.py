"""What the end of a log says about a failure: its message, without the stack around it."""

import re
from pathlib import Path

from host.files import safe_files

MAX_LINES = 12
MAX_LINE_LENGTH = 400
TAIL_LINES = 200
# The patterns are compiled when they are first used, which is after a failure: the commands of the
# shell import this module and start sooner without.
# Sources: ECMA-48 (CSI, and the strings of DCS, SOS, OSC, PM and APC), xterm (OSC ends in BEL).
TERMINAL_CODES = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[P\]X^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
CONTROL_CHARACTERS = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
# What we, and yarn, write before the output of a command.
COMMAND_LINE = r"\$ \S"
# Frames of a stack, by the way in which Python, Node, Java and Ruby print them.
PYTHON_FRAME = r'\s+(?:[|+] )*File "(?P<file>[^"]+)", line (?P<line>\d+)'
OTHER_FRAME = r"\s+at \S|\s+from \S+:\d+|\s+\.\.\. \d+ (?:more|lines)|Node\.js v\d"
TRACEBACK = r"\s*(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\)"
INSTALLED_FILE = r"/(?:site-packages|lib/python[\d.]+|node_modules)/|<frozen "
SUMMARY = r"(?:FAILED|ERROR) \S+(?:::|\.py)"  # of pytest
NPM_LINE = r"npm (?:ERR!|error) ?"
# npm's lines after a script failed: the script's own output says why.
NPM_SCRIPT_FAILED = (
    r"npm (?:ERR!|error) (?:.*ELIFECYCLE|Lifecycle script|command failed|Exit status)"
)
NPM_NOISE = r"npm (?:ERR!|error) *(?:$|A complete log|\S*\.log$|For a full report)"
# Lines that begin a message: an exception, and what tools write before an error.
MESSAGE = (
    r"(?:Uncaught |Unhandled |E +)?(?:[A-Za-z_$][\w$]*\.)*[A-Za-z_$]*(?:Error|Exception|Exit)\b.*"
    r"|(?:Caused by|panic|fatal|error|FATAL|Fatal error|PHP Fatal error)(?:\[\w+\])?: .*"
    r"|.*: (?:ERROR|FATAL): .*|\s*[×✖] .*|.*\((?:[A-Z]\w*::)*[A-Z]\w*Error\)"
)
LOGGED_ERROR = r".*\b(?:ERROR|CRITICAL|FATAL|[Ee]rror)\b.*"


def read_message(path: Path, since: int = 0) -> str:
    """Return the message at the end of the log, of what follows the byte `since`."""
    return extract_message(safe_files.read_tail(path, TAIL_LINES, since))


def strip_terminal_codes(text: str) -> str:
    """Return the text as a terminal shows it: no colours, no titles, no overwritten progress."""
    text = re.sub(TERMINAL_CODES, "", text)
    # A carriage return goes back to the start of the line: what follows replaces what was there.
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return re.sub(CONTROL_CHARACTERS, "", "\n".join(lines))


def extract_message(tail: str, lines: int = MAX_LINES) -> str:
    """Return what the end of a log says about a failure, in at most `lines` lines.

    It is the last exception's message with the application's own innermost frame, the summary of
    the tests, npm's error, or the last line that reports an error with what follows; else the last
    lines.
    """
    written = [line.rstrip() for line in strip_terminal_codes(tail).split("\n")]
    written = [line for line in _drop_earlier_commands(written) if line]
    summary = [line for line in written if re.match(SUMMARY, line)]
    found = summary or _find_npm_error(written) or _find_message(_drop_script_errors(written))
    found = found or _drop_frames(written)[-lines:]
    return "\n".join(_shorten(line) for line in found[:lines])


def _drop_earlier_commands(lines: list[str]) -> list[str]:
    starts = [number for number, line in enumerate(lines) if re.match(COMMAND_LINE, line)]
    own = lines[starts[-1] + 1 :] if starts else lines
    return own if any(own) else lines


def _find_npm_error(lines: list[str]) -> list[str]:
    """Return npm's own error; none if it only says that a script failed."""
    if any(re.match(NPM_SCRIPT_FAILED, line) for line in lines):
        return []
    return [line for line in lines if re.match(NPM_LINE, line) and not re.match(NPM_NOISE, line)]


def _drop_script_errors(lines: list[str]) -> list[str]:
    return [line for line in lines if not re.match(NPM_LINE, line)]


def _find_message(lines: list[str]) -> list[str]:
    """Return the last message and what follows it, without the frames of a stack."""
    frame = _find_own_frame(lines)
    kept = _drop_frames(lines)
    for pattern in (MESSAGE, LOGGED_ERROR):
        starts = [number for number, line in enumerate(kept) if re.fullmatch(pattern, line)]
        if starts:
            message = kept[starts[-1] :]
            return [*message[: MAX_LINES - 1], frame] if frame else message
    return []


def _find_own_frame(lines: list[str]) -> str:
    """Return the innermost frame of the last Python stack that is the application's own."""
    frames: list[re.Match[str]] = []
    for line in lines:
        if re.match(TRACEBACK, line):
            frames = []
        elif match := re.match(PYTHON_FRAME, line):
            frames.append(match)
    own = [frame for frame in frames if not re.search(INSTALLED_FILE, frame["file"])]
    return f"at {own[-1]['file']} line {own[-1]['line']}" if own else ""


def _drop_frames(lines: list[str]) -> list[str]:
    """Return the lines without those of stacks: frames, and the code that Python shows of them."""
    kept = []
    is_in_traceback = False
    for line in lines:
        if re.match(TRACEBACK, line):
            is_in_traceback = True
        elif is_in_traceback and line[:1] not in (" ", "\t"):
            is_in_traceback = False
        if not is_in_traceback and not re.match(OTHER_FRAME, line):
            kept.append(line)
    return kept


def _shorten(line: str) -> str:
    return line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}…"
