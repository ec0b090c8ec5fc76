"""Whether the proxy to the package index accepts connections. Our own ports need no proxy."""

import socket
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

# Of uv and pip, in the order in which uv reads them.
INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
# Stands for the tools' default index. NO_PROXY may list that index by a name unknown here.
DEFAULT_INDEX = "https://default-index.invalid"
CONNECT_SECONDS = 3.0
DEFAULT_PORTS = {"https": 443, "socks4": 1080, "socks5": 1080, "socks5h": 1080}


def find_proxy(environ: Mapping[str, str], url: str) -> tuple[str, str] | None:
    """Return the variable and the value of the proxy for that URL; None if it needs none.

    The rules are curl's, which uv has too: the lower-case name wins, then ALL_PROXY, and NO_PROXY
    lists names and their subdomains.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return None
    if _is_bypassed(parts.hostname or "", _get_bypass(environ)):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if environ.get(variable):
                return variable, environ[variable]
    return None


def _get_bypass(environ: Mapping[str, str]) -> str:
    return environ.get("no_proxy") or environ.get("NO_PROXY") or ""


def _is_bypassed(host: str, names: str) -> bool:
    entries = [name.strip().lstrip(".").lower() for name in names.split(",")]
    return "*" in entries or any(
        entry and (host == entry or host.endswith(f".{entry}")) for entry in entries
    )


def find_proxy_problems(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield that the package index's proxy refuses connections: then no install succeeds."""
    index = next(filter(None, map(environ.get, INDEX_VARIABLES)), DEFAULT_INDEX)
    proxy = find_proxy(environ, index)
    if proxy is None or (index == DEFAULT_INDEX and _get_bypass(environ)):
        return
    variable, value = proxy
    address = _parse_address(value)
    # Without the value: it may hold a password.
    if address is None:
        yield f"{variable} is not the address of a proxy: set it to http://host:port, or unset it."
        return
    try:
        socket.create_connection(address, CONNECT_SECONDS).close()
    except OSError as error:
        host, port = address
        yield (
            f"{variable} names the proxy {host}:{port}, which does not answer ({error}), so no "
            "package can be installed: start it, correct the variable, or unset it."
        )


def _parse_address(value: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 80)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None
