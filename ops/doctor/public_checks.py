"""Checks of public mode: names, ports, certificates, the clock and the certificates' authority."""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from host import http_client
from host.config import Config
from ops.doctor.findings import Finding
from slots.runtime.web_units import LETS_ENCRYPT

CONNECT_SECONDS = 5.0
# The first request of a name waits for its certificate.
HANDSHAKE_SECONDS = 30.0
# Caddy renews when a third of the time is left: of 90 days that is a month.
MIN_LEFT_SECONDS = 7 * 24 * 3600
# Of a certificate for a shorter time, which a private authority may issue, a tenth.
MIN_LEFT_SHARE = 0.1
MAX_CLOCK_SECONDS = 60.0
LOG = "journalctl -u ouroboros-caddy, else var/log/ouroboros-caddy.log"
DNS_REMEDY = "Have A and AAAA records of the name, or of *.{parent}, lead to this host."


def check_public(config: Config) -> Iterator[Finding]:
    """Check all of it; nothing without OROBOROS_PUBLIC."""
    if not config.is_public:
        return
    for name in list_names(config):
        yield judge_name(name, resolve(name))
    yield _check_redirect(config)
    for name in ("app", "api"):
        yield _check_certificate(config, f"{name}.{config.domain}")
    yield _check_authority(config)


def list_names(config: Config) -> list[str]:
    """Return the names that people open; of previews' one that stands for all."""
    return [f"{name}.{config.domain}" for name in ("app", "api", "any.preview")]


def resolve(name: str) -> list[str]:
    """Return the name's addresses; none if it has none."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(entry[4][0]) for entry in found})


def judge_name(name: str, addresses: Sequence[str]) -> Finding:
    """Judge a name by its addresses: whether they are this host's is not known behind a NAT."""
    is_ok = any(not ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in addresses)
    observed = ", ".join(addresses) or "has no address"
    remedy = DNS_REMEDY.format(parent=name.partition(".")[2])
    return Finding(f"DNS {name}", is_ok, observed, remedy)


def _check_redirect(config: Config) -> Finding:
    try:
        answer = http_client.get(config.http_port, "/", host=f"api.{config.domain}")
    except (OSError, ValueError) as error:
        return judge_redirect(config.http_port, None, "", str(error))
    location = answer.headers.get("location", "")
    return judge_redirect(config.http_port, answer.status, location)


def judge_redirect(port: int, status: int | None, location: str, error: str = "") -> Finding:
    """Judge what the port for HTTP answers; no status: it does not."""
    is_ok = status == 308 and location.startswith("https://")
    observed = error or f"{status} {location}".strip()
    remedy = f"The router must redirect to HTTPS: ./scripts/apply-settings.sh; see {LOG}."
    return Finding(f"port {port}, HTTP", is_ok, observed, remedy)


def _check_certificate(config: Config, name: str) -> Finding:
    try:
        context = _build_context(config)
        address = ("127.0.0.1", config.https_port)
        with (
            socket.create_connection(address, HANDSHAKE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=name) as wrapped,
        ):
            # Verified, so it has all of it.
            found = wrapped.getpeercert() or {}
    except OSError as error:  # ssl.SSLError is one
        return judge_certificate(name, None, None, time.time(), str(error))
    begin, end = (ssl.cert_time_to_seconds(str(found[key])) for key in ("notBefore", "notAfter"))
    return judge_certificate(name, begin, end, time.time())


def _build_context(config: Config) -> ssl.SSLContext:
    """Return what trusts the system's authorities and ACME_CA_ROOT. Raises OSError."""
    context = ssl.create_default_context()
    if root := config.get("ACME_CA_ROOT"):
        context.load_verify_locations(root)
    return context


def judge_certificate(
    name: str, begin: float | None, end: float | None, now: float, error: str = ""
) -> Finding:
    """Judge a certificate by the Unix times of its validity; None: there is no valid one."""
    remedy = (
        f"The router requests and renews it: {LOG} says why that fails. The authority must reach "
        "the ports 80 and 443 of this host by that name."
    )
    subject = f"certificate {name}"
    if begin is None or end is None:
        return Finding(subject, False, error, remedy)
    left = end - now
    is_ok = left > min(MIN_LEFT_SECONDS, MIN_LEFT_SHARE * (end - begin))
    return Finding(subject, is_ok, f"valid for {left / 86400:.1f} more days", remedy)


def _check_authority(config: Config) -> Finding:
    """Ask for its directory as the router does: directly, whatever proxy the shell names."""
    directory = config.get("ACME_DIRECTORY", LETS_ENCRYPT)
    parts = urlsplit(directory)
    try:
        connection = HTTPSConnection(
            parts.netloc, timeout=CONNECT_SECONDS, context=_build_context(config)
        )
        with closing(connection):
            connection.request("GET", parts.path or "/")
            sent_at = connection.getresponse().headers.get("Date", "")
    except (OSError, HTTPException) as error:  # OSError: also an unreadable root
        return judge_authority(directory, None, time.time(), str(error))
    return judge_authority(directory, _parse_date(sent_at), time.time())


def _parse_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


def judge_authority(directory: str, at: float | None, now: float, error: str = "") -> Finding:
    """Judge the authority by the time that its answer has: certificates depend on the clock."""
    subject = "certificates' authority"
    if at is None:
        remedy = "Correct ACME_DIRECTORY and ACME_CA_ROOT, or the network of this host."
        return Finding(subject, False, f"{directory}: {error or 'no time in the answer'}", remedy)
    off = abs(now - at)
    observed = f"{directory} answers; this host's clock differs by {off:.0f} s"
    remedy = "Certificates are valid by the clock: run an NTP client (timedatectl set-ntp true)."
    return Finding(subject, off <= MAX_CLOCK_SECONDS, observed, remedy)
