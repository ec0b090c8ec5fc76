"""The variables in which the processes of one application differ."""

import re
from collections.abc import Mapping

WEB = "web"
ADDRESS_PREFIX = "OROBOROS_SERVER_"


def build_addresses(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the variables that name the address of each server, for calls from one to another.

    `ports` are those of `web` and of the other servers by their type. An application with `web`
    alone needs none.
    """
    if len(ports) < 2:
        return {}
    return {
        ADDRESS_PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper()): f"http://127.0.0.1:{port}"
        for name, port in ports.items()
    }


def build_web_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the `web` process."""
    return {**environment, "OROBOROS_PROCESS": WEB}


def build_server_environment(
    environment: Mapping[str, str], name: str, port: int
) -> dict[str, str]:
    """Return the environment of a server beside `web`: with a port of its own."""
    return {**environment, "PORT": str(port), "OROBOROS_PROCESS": name}


def build_background_environment(environment: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the environment of a background process: without the port, which is `web`'s."""
    others = {
        key: value
        for key, value in environment.items()
        # Of production's servers two generations run at once, each with ports of its own.
        if key != "PORT" and not key.startswith(ADDRESS_PREFIX)
    }
    return {**others, "OROBOROS_PROCESS": name}
