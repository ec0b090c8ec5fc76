"""What the settings files of pip, uv and npm on this host say about registries, as variables.

An install has a home of its own, so no tool finds there what the service's user has set.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Returns the value of a variable, "" if it is not set.
Lookup = Callable[[str], str]

PIP_FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "find-links", "no-index", "cert")
UV_FILES = ("/etc/uv/uv.toml",)
# The keys of uv's files, some of them also in the table `pip`.
# Source: https://docs.astral.sh/uv/reference/settings/
UV_SETTINGS = {
    "index-url": "UV_INDEX_URL",
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "offline": "UV_OFFLINE",
    "allow-insecure-host": "UV_INSECURE_HOST",
    "index-strategy": "UV_INDEX_STRATEGY",
}
# npm itself reads that of its own prefix; no other tool does.
NPM_FILES = ("/usr/etc/npmrc", "/usr/local/etc/npmrc", "/etc/npmrc")
NPM_USER_FILE = ("npm_config_userconfig", "NPM_CONFIG_USERCONFIG")
NPM_SETTINGS = {
    "registry": "npm_config_registry",
    "proxy": "npm_config_proxy",
    "https-proxy": "npm_config_https_proxy",
    "noproxy": "npm_config_noproxy",
    "cafile": "npm_config_cafile",
}
NPM_LINE = re.compile(r"\s*([^\s;#=][^=]*?)\s*=\s*(.*?)\s*")
NPM_VARIABLE = re.compile(r"\$\{([^}]+)\}")
# The registry of a scope (`@acme:registry`), and credentials (`//host/path/:_authToken`).
NPM_RECORD = re.compile(r"@[^:\s]+:registry|//\S+:(?:_authToken|_auth|username|_password)")


@dataclass(frozen=True)
class RegistryFiles:
    """What the files say: variables by name, and npm's registries of scopes and credentials."""

    variables: Mapping[str, str] = field(default_factory=dict)
    npm_records: Mapping[str, str] = field(default_factory=dict)


def read_registry_files(lookup: Lookup) -> RegistryFiles:
    """Read the files of this host and of the service's user; pip's win over uv's."""
    npm = read_npm_settings(list_npm_files(lookup), lookup)
    uv, pip = read_uv_settings(list_uv_files(lookup)), read_pip_settings(list_pip_files(lookup))
    if "PIP_INDEX_URL" in pip:
        uv.pop("UV_INDEX_URL", "")
    return RegistryFiles({**npm.variables, **uv, **pip}, npm.npm_records)


def list_pip_files(lookup: Lookup) -> list[Path]:
    """Return the files that pip reads for the service's user; a later one wins."""
    home, own = lookup("HOME"), lookup("PIP_CONFIG_FILE")
    users = [f"{home}/.pip/pip.conf", f"{home}/.config/pip/pip.conf"] if home else []
    return [Path(name) for name in (*PIP_FILES, *users, *([own] if own else []))]


def read_pip_settings(paths: Iterable[Path]) -> dict[str, str]:
    """Return what pip's files say, as variables; a later file wins.

    Source: https://pip.pypa.io/en/stable/topics/configuration/
    """
    found: dict[str, str] = {}
    for path in paths:
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(path)
        except (Error, OSError, UnicodeDecodeError):
            continue  # pip itself says what is wrong with its file
        for section in ("global", "install"):
            for key in PIP_SETTINGS:
                if parser.has_option(section, key):
                    found[f"PIP_{key.replace('-', '_').upper()}"] = parser.get(section, key)
    return found


def list_uv_files(lookup: Lookup) -> list[Path]:
    """Return the files that uv reads for the service's user; a later one wins."""
    home = lookup("HOME")
    users = [f"{home}/.config/uv/uv.toml"] if home else []
    own = lookup("UV_CONFIG_FILE")
    return [Path(name) for name in ([own] if own else [*UV_FILES, *users])]


def read_uv_settings(paths: Iterable[Path]) -> dict[str, str]:
    """Return what uv's files say, as variables; a later file wins.

    Source: https://docs.astral.sh/uv/concepts/configuration-files/
    """
    found: dict[str, str] = {}
    for path in paths:
        try:
            data = tomllib.loads(path.read_text())
        except (OSError, ValueError):
            continue
        pip = data.get("pip")
        for table in (pip if isinstance(pip, dict) else {}, data):
            for key, name in UV_SETTINGS.items():
                if key in table:
                    found[name] = _format_value(table[key])
        found |= dict(_read_indexes(data.get("index")))
    return {name: value for name, value in found.items() if value}


def _read_indexes(tables: Any) -> Iterator[tuple[str, str]]:
    """Yield uv's `[[index]]` tables; an explicit one counts for the packages that name it only."""
    tables = [one for one in tables if isinstance(one, dict)] if isinstance(tables, list) else []
    urls = [(str(one.get("url", "")), one) for one in tables if one.get("explicit") is not True]
    default = next((url for url, one in urls if one.get("default") is True), "")
    others = [url for url, one in urls if one.get("default") is not True]
    yield from [("UV_INDEX_URL", default)] if default else []
    yield from [("UV_EXTRA_INDEX_URL", " ".join(others))] if others else []


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def list_npm_files(lookup: Lookup) -> list[Path]:
    """Return the files that npm reads for the service's user; a later one wins."""
    home = lookup("HOME")
    own = next(filter(None, map(lookup, NPM_USER_FILE)), f"{home}/.npmrc" if home else "")
    return [Path(name) for name in (*NPM_FILES, *([own] if own else []))]


def read_npm_settings(paths: Iterable[Path], lookup: Lookup) -> RegistryFiles:
    """Return what npm's files say; a later file wins. Variables in them are filled in.

    Source: https://docs.npmjs.com/cli/configuring-npm/npmrc
    """
    found: dict[str, str] = {}
    for path in paths:
        try:
            lines = path.read_text().splitlines()
        except (OSError, ValueError):
            continue
        for match in filter(None, map(NPM_LINE.fullmatch, lines)):
            found[match[1]] = NPM_VARIABLE.sub(
                lambda name: lookup(name[1]) or name[0], match[2].strip("\"'")
            )
    variables = {name: found[key] for key, name in NPM_SETTINGS.items() if found.get(key)}
    records = {key: value for key, value in found.items() if NPM_RECORD.fullmatch(key)}
    return RegistryFiles(variables, records)
