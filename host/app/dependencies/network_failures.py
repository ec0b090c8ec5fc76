"""Recognizes failed network connections in what a program printed."""

import re
from pathlib import Path

from host import log_message
from host.files import safe_files

# Of the C library, Python, Node, Go, Ruby, curl, uv (reqwest) and Next.js.
NETWORK = re.compile(
    r"temporary failure in name resolution|name or service not known|\bE(?:NOTFOUND|AI_AGAIN)\b"
    r"|nodename nor servname|could not (?:resolve|reach) host|network is unreachable"
    r"|\bENETUNREACH\b|no route to host|\bEHOSTUNREACH\b|connection timed out|\bETIMEDOUT\b"
    r"|ConnectTimeout|no such host|getaddrinfo|failed to lookup address|dns error"
    r"|\bERR_SOCKET_TIMEOUT\b|issue establishing a connection"
    r"|Failed to fetch .{1,100} from Google Fonts",
    re.I,
)
HOST_NAME = re.compile(
    r"host='([\w.-]+)'|(?:ENOTFOUND|EAI_AGAIN) ([\w.-]+)|resolve host:? ['\"]?([\w.-]+)"
    r"|reach host ([\w.-]+)|lookup ([\w.-]+\.\w+)|https?://([\w.-]+)",
    re.I,
)
GOOGLE_FONTS = re.compile(r"from Google Fonts|fonts\.(?:googleapis|gstatic)\.com")
FONTS_REMEDY = (
    " Without Google Fonts: put the font's files into the repository and use next/font/local, or a"
    " package such as @fontsource."
)


def find_network_failure(output: str) -> str | None:
    """Return the host that could not be reached, "" if no host is named; None without a failure."""
    failures = [line for line in output.splitlines() if NETWORK.search(line)]
    names = [match for line in failures if (match := HOST_NAME.search(line))]
    if names:
        return next(group for group in names[0].groups() if group).rstrip(".")
    return "" if failures else None


def explain_network_failure_of(log: Path, since: int = 0) -> str:
    """Return `explain_network_failure` of the end of the log, of what follows the byte `since`.

    Of all lines and not of the message alone: tools report the connection before their last error.
    """
    return explain_network_failure(
        log_message.strip_terminal_codes(safe_files.read_tail(log, since=since))
    )


def explain_network_failure(output: str) -> str:
    """Return sentences about a connection of which `output` says that it failed; else ""."""
    host = find_network_failure(output)
    if host is None:
        return ""
    fonts = FONTS_REMEDY if GOOGLE_FONTS.search(output) else ""
    return (
        f"The network is a cause: {host or 'a host'} was not reached from here. Check this host's "
        f"connection, name server and proxy (HTTPS_PROXY), then retry the run.{fonts}"
    )
