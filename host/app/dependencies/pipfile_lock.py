"""Turns a Pipfile.lock into the requirements that `pipenv requirements --hash` prints."""

import json
from typing import Any

# The name that pipenv gives the default index, which the operator may have replaced.
DEFAULT_SOURCE = "pypi"
VERSION_CONTROLS = ("git", "hg", "svn", "bzr")


def to_requirements(text: str, *, has_development: bool = False) -> str | None:
    """Return the lines of a requirements.txt; None if the text is no Pipfile.lock.

    With `has_development` the packages of `develop` are among them.

    Source: https://pipenv.pypa.io/en/latest/pipfile.html
    """
    try:
        data = json.loads(text)
        sources = data.get("_meta", {}).get("sources", [])
        development = data.get("develop", {}) if has_development else {}
        packages = {**development, **data.get("default", {})}
        urls = [one["url"] for one in sources if one.get("name") != DEFAULT_SOURCE]
        lines = [_format_package(name, package) for name, package in sorted(packages.items())]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    return "\n".join([*(f"--extra-index-url {url}" for url in urls), *lines]) + "\n"


def _format_package(name: str, package: dict[str, Any]) -> str:
    extras = f"[{','.join(package['extras'])}]" if package.get("extras") else ""
    markers = f" ; {package['markers']}" if package.get("markers") else ""
    hashes = "".join(f" --hash={value}" for value in package.get("hashes", []))
    if "path" in package:
        prefix = "-e " if package.get("editable") else ""
        return f"{prefix}{package['path']}{extras}{markers}"
    if "file" in package:
        return f"{name}{extras} @ {package['file']}{markers}{hashes}"
    for system in VERSION_CONTROLS:
        if system in package:
            return f"{name}{extras} @ {system}+{package[system]}@{package['ref']}{markers}"
    return f"{name}{extras}{package['version']}{markers}{hashes}"
