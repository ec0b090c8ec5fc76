"""Decisions about requests for a preview: values in, values out."""

import re
from dataclasses import dataclass
from enum import Enum, auto

# The parameters of a query that open a preview. They never reach the application.
TICKET, SHARE, BYPASS = "oroboros_ticket", "oroboros_share", "oroboros_bypass"
PARAMETERS = (TICKET, SHARE, BYPASS)
ADDRESS = re.compile(r"/[\x21-\x7e]{0,4000}")
READING = ("GET", "HEAD")


@dataclass(frozen=True)
class PreviewRequest:
    """What the router says of a request for a preview.

    `host` is the Host header, `uri` the path with the query as they were sent; `slot` the number of
    the slot that has the host name now, "" if none has.
    """

    host: str
    slot: str = ""
    method: str = "GET"
    uri: str = "/"
    cookies: str = ""
    bypass: str = ""  # the header X-Oroboros-Bypass
    accept: str = ""
    fetch_mode: str = ""  # the header Sec-Fetch-Mode
    origin: str = ""
    preflight_method: str = ""  # the header Access-Control-Request-Method
    is_worker: bool = False  # whether a browser loads a service worker's script
    agent: str = ""  # the header User-Agent


class AccessAnswer(Enum):
    """What a request without access gets."""

    LOGIN = auto()  # a redirect to the log-in, which leads back
    REFUSAL = auto()  # 401 with a text


def choose_answer(request: PreviewRequest) -> AccessAnswer:
    """Return what a request without access gets: only a page that a person opens is redirected.

    A form would lose its fields, a script cannot follow a redirect to another origin, and a service
    worker's script must not be redirected.
    """
    is_page = request.method in READING and not request.is_worker and _navigates(request)
    return AccessAnswer.LOGIN if is_page else AccessAnswer.REFUSAL


def _navigates(request: PreviewRequest) -> bool:
    """Return whether a browser opens a page; older ones are known by what they accept."""
    if request.fetch_mode:
        return request.fetch_mode == "navigate"
    return "text/html" in request.accept


def is_preflight(request: PreviewRequest, origins: str) -> bool:
    """Return whether the surface answers it as a CORS preflight, for an origin of that pattern.

    Browsers send no cookies with it. The preflight of another origin would be answered by the
    application, so it needs access as every request. Without a slot there is no surface.
    """
    is_question = request.method == "OPTIONS" and bool(request.preflight_method and request.slot)
    return is_question and is_allowed_origin(request.origin, origins)


def is_allowed_origin(origin: str, origins: str) -> bool:
    """Return whether pages of the origin may read a surface's answers."""
    return re.fullmatch(origins, origin) is not None


def parse_host(text: str, domain: str) -> str | None:
    """Return the host name of a preview in a Host header, in lower case; None for any other."""
    name, _, port = text.lower().partition(":")
    label = r"[a-z0-9-]{1,63}\.preview\.(?:%s|localhost)|preview[0-9]{1,2}\.%s"
    escaped = re.escape(domain.lower())
    is_known = re.fullmatch(label % (escaped, escaped), name) and re.fullmatch("[0-9]{0,5}", port)
    return name if is_known else None


def split_parameter(uri: str) -> tuple[str, str, str]:
    """Return our first parameter in the query, its value, and the address without any of ours.

    All are "" if the query has none. What else the query says stays as it was written.
    """
    path, _, query = uri.partition("?")
    parts = [part.partition("=") for part in query.split("&")]
    own = [(name, value) for name, _, value in parts if name in PARAMETERS]
    if not own:
        return "", "", ""
    others = "&".join("".join(part) for part in parts if part[0] not in PARAMETERS)
    return *own[0], f"{path}?{others}" if others else path


def add_ticket(uri: str, ticket: str) -> str:
    """Return the address with the ticket at the end of its query."""
    return f"{uri}{'&' if '?' in uri else '?'}{TICKET}={ticket}"


def check_address(uri: str) -> str:
    """Return the address to come back to; the start page for one that is none."""
    return uri if ADDRESS.fullmatch(uri) else "/"
