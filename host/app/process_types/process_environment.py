"""The variables in which the processes of one application differ."""

from collections.abc import Mapping

WEB = "web"


def build_web_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the `web` process."""
    return {**environment, "OROBOROS_PROCESS": WEB}


def build_background_environment(environment: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the environment of a background process: without the port, which is `web`'s."""
    others = {key: value for key, value in environment.items() if key != "PORT"}
    return {**others, "OROBOROS_PROCESS": name}
