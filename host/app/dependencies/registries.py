"""One list of proxies, indexes and certificates, translated for every tool that installs.

An index that is set for one tool holds for all tools of its language: a tool that ignored it would
take the names of private packages from the public index. Passwords are not in the addresses,
which tools print, but in files of the install's private home.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

# Returns the value of a variable, "" if it is not set.
Lookup = Callable[[str], str]

# The names of each setting, in the order in which they win.
HTTP_PROXY = ("HTTP_PROXY", "http_proxy", "npm_config_proxy", "YARN_HTTP_PROXY", "PIP_PROXY")
HTTPS_PROXY = (
    *("HTTPS_PROXY", "https_proxy", "npm_config_https_proxy", "YARN_HTTPS_PROXY", "PIP_PROXY"),
)
NO_PROXY = ("NO_PROXY", "no_proxy", "npm_config_noproxy")
# A bundle of all authorities; NODE_EXTRA_CA_CERTS adds to Node's own.
CERTIFICATES = (
    *("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "npm_config_cafile"),
    "YARN_HTTPS_CA_FILE_PATH",
)
PYTHON_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
PYTHON_EXTRA = ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL")
PYTHON_STRATEGY = ("UV_INDEX_STRATEGY",)
PYTHON_TRUSTED = ("UV_INSECURE_HOST", "PIP_TRUSTED_HOST")
PYTHON_LINKS = ("UV_FIND_LINKS", "PIP_FIND_LINKS")
PYTHON_OFFLINE = ("UV_OFFLINE",)
PYTHON_NO_INDEX = ("UV_NO_INDEX", "PIP_NO_INDEX")
NODE_REGISTRY = (
    *("npm_config_registry", "NPM_CONFIG_REGISTRY", "YARN_NPM_REGISTRY_SERVER", "YARN_REGISTRY"),
    "BUN_CONFIG_REGISTRY",
)
UNCHANGED = ("SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
FILES = ("PIP_CONFIG_FILE",)
ALL_NAMES = tuple(
    dict.fromkeys(
        (
            *(*HTTP_PROXY, *HTTPS_PROXY, *NO_PROXY, *CERTIFICATES, *UNCHANGED, *FILES),
            *(*PYTHON_INDEX, *PYTHON_EXTRA, *PYTHON_TRUSTED, *PYTHON_LINKS, *PYTHON_OFFLINE),
            *(*PYTHON_NO_INDEX, *PYTHON_STRATEGY, *NODE_REGISTRY),
        )
    )
)
PIP_FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "find-links", "no-index", "cert")


@dataclass(frozen=True)
class Registries:
    """The variables of an install, and the files of its home, by name, that have passwords."""

    variables: Mapping[str, str]
    files: Mapping[str, str]
    passwords: tuple[str, ...] = ()


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


def translate(lookup: Lookup) -> Registries:
    """Translate the settings that `lookup` returns, whichever tool they were written for."""
    variables = {name: lookup(name) for name in UNCHANGED}
    hosts: dict[str, tuple[str, str]] = {}
    for names, targets in (
        (HTTP_PROXY, ("HTTP_PROXY", "http_proxy")),
        (HTTPS_PROXY, ("HTTPS_PROXY", "https_proxy")),
        (NO_PROXY, ("NO_PROXY", "no_proxy")),
        (CERTIFICATES, CERTIFICATES),
        (PYTHON_OFFLINE, PYTHON_OFFLINE),
        (PYTHON_NO_INDEX, PYTHON_NO_INDEX),
    ):
        variables |= dict.fromkeys(targets, _first(lookup, names))
    variables |= _translate_python(lookup, hosts)
    registry = _strip_password(_first(lookup, NODE_REGISTRY), hosts)
    variables |= dict.fromkeys(NODE_REGISTRY, registry)
    # yarn knows no NO_PROXY: with an explicit proxy it uses it for every host.
    if not _is_direct(registry, variables["NO_PROXY"]):
        variables["YARN_HTTP_PROXY"] = variables["HTTP_PROXY"]
        variables["YARN_HTTPS_PROXY"] = variables["HTTPS_PROXY"]
    if registry.startswith("http://"):
        variables["YARN_UNSAFE_HTTP_WHITELIST"] = urlsplit(registry).hostname or ""
    files = {
        ".netrc": _format_netrc(hosts),
        ".npmrc": _format_npmrc(registry, hosts),
        ".yarnrc.yml": _format_yarnrc(registry, hosts),
    }
    return Registries(
        {name: value for name, value in variables.items() if value},
        {name: text for name, text in files.items() if text},
        tuple(_list_passwords(variables, hosts)),
    )


def _list_passwords(
    variables: Mapping[str, str], hosts: Mapping[str, tuple[str, str]]
) -> Iterator[str]:
    """Yield what no log may show: passwords, tokens in the place of a user, proxies' addresses."""
    for user, password in hosts.values():
        yield from (password, base64.b64encode(f"{user}:{password}".encode()).decode())
        if not password:
            yield user
    yield from (value for value in variables.values() if "@" in value and "://" in value)


def _translate_python(lookup: Lookup, hosts: dict[str, tuple[str, str]]) -> dict[str, str]:
    index = _strip_password(_strip_name(_first(lookup, PYTHON_INDEX)), hosts)
    extra = [_strip_password(_strip_name(url), hosts) for url in _all(lookup, PYTHON_EXTRA)]
    trusted, links = _all(lookup, PYTHON_TRUSTED), _all(lookup, PYTHON_LINKS)
    return {
        "UV_DEFAULT_INDEX": index,
        "PIP_INDEX_URL": index,
        "UV_INDEX": " ".join(extra),
        "UV_INDEX_STRATEGY": _choose_strategy(lookup),
        "PIP_EXTRA_INDEX_URL": " ".join(extra),
        "UV_INSECURE_HOST": " ".join(trusted),
        "PIP_TRUSTED_HOST": " ".join(trusted),
        "UV_FIND_LINKS": ",".join(links),
        "PIP_FIND_LINKS": " ".join(links),
    }


def _choose_strategy(lookup: Lookup) -> str:
    """Return in which order uv asks the indexes.

    uv takes every version of a package from the first index that has one. pip's extra indexes may
    lack versions, so uv goes on to the next index for these; but a version of an extra index still
    wins over a higher one of the default index, where anyone may publish a name.
    Source: https://docs.astral.sh/uv/concepts/indexes/#searching-across-multiple-indexes
    """
    own = _first(lookup, PYTHON_STRATEGY)
    is_from_pip = not any(map(lookup, ("UV_INDEX", "UV_EXTRA_INDEX_URL")))
    return own or ("unsafe-first-match" if is_from_pip and lookup("PIP_EXTRA_INDEX_URL") else "")


def _is_direct(url: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY names the host of the address, or a domain of it."""
    host = urlsplit(url).hostname or ""
    names = [name.strip().lstrip("*.") for name in no_proxy.split(",") if name.strip()]
    return any(host == name or host.endswith(f".{name}") for name in names)


def _first(lookup: Lookup, names: Iterable[str]) -> str:
    return next((value for value in map(lookup, names) if value), "").strip()


def _all(lookup: Lookup, names: Iterable[str]) -> list[str]:
    """Return the words of all the variables; uv separates links by commas."""
    words = " ".join(lookup(name) for name in names).replace(",", " ").split()
    return list(dict.fromkeys(words))


def _strip_name(url: str) -> str:
    """Return an index without the name that uv accepts before it: `name=https://…`."""
    name, _, rest = url.partition("=")
    return rest if "://" in rest and "/" not in name else url


def _strip_password(url: str, hosts: dict[str, tuple[str, str]]) -> str:
    """Return an address without user and password, which `hosts` gets by the host's name."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    user, at, address = parts.netloc.rpartition("@")
    if not at or not parts.hostname:
        return url
    name, _, password = user.partition(":")
    hosts[address] = (unquote(name), unquote(password))
    return urlunsplit(parts._replace(netloc=address))


def _format_netrc(hosts: Mapping[str, tuple[str, str]]) -> str:
    """Return the lines for pip and uv. Source: https://docs.astral.sh/uv/concepts/authentication/"""
    return "".join(
        f'machine {address.partition(":")[0]} login "{user}" password "{password}"\n'
        for address, (user, password) in hosts.items()
    )


def _format_npmrc(registry: str, hosts: Mapping[str, tuple[str, str]]) -> str:
    """Return the lines for npm, pnpm, bun and yarn 1, which needs the second of them.

    Source: https://docs.npmjs.com/cli/configuring-npm/npmrc#auth-related-configuration
    """
    parts = urlsplit(registry)
    if parts.netloc not in hosts:
        return ""
    value = base64.b64encode(":".join(hosts[parts.netloc]).encode()).decode()
    place = f"//{parts.netloc}{parts.path.rstrip('/')}/"
    return f"{place}:_auth={value}\n{place}:always-auth=true\n"


def _format_yarnrc(registry: str, hosts: Mapping[str, tuple[str, str]]) -> str:
    """Return the lines for yarn 4. Source: https://yarnpkg.com/configuration/yarnrc#npmAuthIdent"""
    credentials = hosts.get(urlsplit(registry).netloc)
    if credentials is None:
        return ""
    return f"npmAuthIdent: {json.dumps(':'.join(credentials))}\nnpmAlwaysAuth: true\n"
