"""One list of proxies, indexes and certificates, translated for every tool that installs.

An index that is set for one tool holds for all tools of its language: a tool that ignored it would
take the names of private packages from the public index. Passwords are not in the addresses,
which tools print, but in files of a private home.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from host.app.dependencies.registry_files import NPM_USER_FILE, Lookup, read_registry_files
from host.app.environment_policy import is_matched_by, split_patterns
from host.config import Config
from host.files import ownership, safe_files
from host.process.users import User

# The names of each setting, in the order in which they win.
HTTP_PROXY = (
    *("HTTP_PROXY", "http_proxy", "npm_config_proxy", "YARN_HTTP_PROXY", "PIP_PROXY"),
    *("ALL_PROXY", "all_proxy"),
)
HTTPS_PROXY = (
    *("HTTPS_PROXY", "https_proxy", "npm_config_https_proxy", "YARN_HTTPS_PROXY", "PIP_PROXY"),
    *("ALL_PROXY", "all_proxy"),
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
# Of Go and Bundler, which have no other names for them. GOPROXY may name several, with passwords.
# Sources: https://go.dev/ref/mod#environment-variables, bundle-config(1), "MIRRORS OF GEM SOURCES"
GO = ("GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOINSECURE")
GO_PROXY = re.compile(r"[^,|\s]+")
RUBY = ("BUNDLE_MIRROR__ALL", "BUNDLE_MIRROR__ALL__FALLBACK_TIMEOUT")
UNCHANGED = ("SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", *GO, *RUBY)
FILES = ("PIP_CONFIG_FILE", "UV_CONFIG_FILE", *NPM_USER_FILE)
ALL_NAMES = tuple(
    dict.fromkeys(
        (
            *(*HTTP_PROXY, *HTTPS_PROXY, *NO_PROXY, *CERTIFICATES, *UNCHANGED, *FILES),
            *(*PYTHON_INDEX, *PYTHON_EXTRA, *PYTHON_TRUSTED, *PYTHON_LINKS, *PYTHON_OFFLINE),
            *(*PYTHON_NO_INDEX, *PYTHON_STRATEGY, *NODE_REGISTRY, "GOPROXY"),
        )
    )
)
# The ends of npm's keys whose values are secrets, and yarn 4's names of those that it knows.
NPM_SECRETS = (":_authToken", ":_auth", ":_password")
YARN_NAMES = {"_authToken": "npmAuthToken", "_auth": "npmAuthIdent"}
# Where a variable of the group is set, no file counts.
SINGLE_VALUES = (
    *(HTTP_PROXY, HTTPS_PROXY, NO_PROXY, CERTIFICATES, PYTHON_INDEX, PYTHON_STRATEGY),
    *(PYTHON_OFFLINE, PYTHON_NO_INDEX, NODE_REGISTRY),
)


@dataclass(frozen=True)
class Registries:
    """The variables of an install, and the files of its home, by name, that have passwords."""

    variables: Mapping[str, str]
    files: Mapping[str, str]
    passwords: tuple[str, ...] = ()


def find_registries(config: Config) -> Registries:
    """Return how this host reaches the package registries, from its settings and tools' files.

    Installs, builds and checks get them: each may install. Names on the operator's blocklist are
    left out.
    """
    blocked = split_patterns(config.get("WORKER_SUBPROCESS_ENV_BLOCKLIST"))
    files = read_registry_files(config.get)
    look_up = add_files(config.get, files.variables)
    found = translate(
        lambda name: "" if is_matched_by(name, blocked) else look_up(name), files.npm_records
    )
    variables = {n: text for n, text in found.variables.items() if not is_matched_by(n, blocked)}
    return replace(found, variables=variables)


def write_files(config: Config, home: Path, user: User | None) -> None:
    """Write the registries' passwords into the private home of an install, a build or a check."""
    for name, text in find_registries(config).files.items():
        safe_files.write_atomic(home / name, text.encode(), 0o600, survives_reboot=False)
    ownership.give_tree(home, user)


def add_files(lookup: Lookup, files: Mapping[str, str]) -> Lookup:
    """Return a lookup that has, of settings for which no variable is set, what the files say."""
    is_set = {
        name for group in SINGLE_VALUES if any(lookup(other) for other in group) for name in group
    }
    return lambda name: lookup(name) or ("" if name in is_set else files.get(name, ""))


def translate(lookup: Lookup, npm_records: Mapping[str, str] | None = None) -> Registries:
    """Translate the settings that `lookup` returns, whichever tool they were written for.

    `npm_records` are those of `RegistryFiles`: they have no variables.
    """
    records = npm_records or {}
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
    variables["GOPROXY"] = GO_PROXY.sub(
        lambda match: _strip_password(match[0], hosts), lookup("GOPROXY")
    )
    registry = _strip_password(_first(lookup, NODE_REGISTRY), hosts)
    variables |= dict.fromkeys(NODE_REGISTRY, registry)
    # yarn knows no NO_PROXY: with an explicit proxy it uses it for every host.
    if not _is_direct(registry, variables["NO_PROXY"]):
        variables["YARN_HTTP_PROXY"] = variables["HTTP_PROXY"]
        variables["YARN_HTTPS_PROXY"] = variables["HTTPS_PROXY"]
    scopes = (value for key, value in records.items() if key.endswith(":registry"))
    variables["YARN_UNSAFE_HTTP_WHITELIST"] = ",".join(_list_plain_hosts([registry, *scopes]))
    files = {
        ".netrc": _format_netrc(hosts),
        ".npmrc": _format_npmrc(registry, hosts, records),
        ".yarnrc.yml": _format_yarnrc(registry, hosts, records),
    }
    return Registries(
        {name: value for name, value in variables.items() if value},
        {name: text for name, text in files.items() if text},
        tuple(_list_passwords(variables, hosts, records)),
    )


def _list_plain_hosts(urls: Iterable[str]) -> list[str]:
    """Return the hosts of the addresses that are not encrypted: yarn 4 refuses others."""
    hosts = (urlsplit(url).hostname for url in urls if url.startswith("http://"))
    return list(dict.fromkeys(host for host in hosts if host))


def _list_passwords(
    variables: Mapping[str, str],
    hosts: Mapping[str, tuple[str, str]],
    records: Mapping[str, str],
) -> Iterator[str]:
    """Yield what no log may show: passwords, tokens in the place of a user, proxies' addresses."""
    yield from (value for key, value in records.items() if key.endswith(NPM_SECRETS) and value)
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
    """Return the lines for pip, uv and Go. Source: https://docs.astral.sh/uv/concepts/authentication/"""
    return "".join(
        f'machine {address.partition(":")[0]} login "{user}" password "{password}"\n'
        for address, (user, password) in hosts.items()
    )


def _format_npmrc(
    registry: str, hosts: Mapping[str, tuple[str, str]], records: Mapping[str, str]
) -> str:
    """Return the lines for npm, pnpm, bun and yarn 1, which needs the last of them.

    Source: https://docs.npmjs.com/cli/configuring-npm/npmrc#auth-related-configuration
    """
    lines = [f"{key}={value}" for key, value in records.items()]
    parts = urlsplit(registry)
    if parts.netloc in hosts:
        value = base64.b64encode(":".join(hosts[parts.netloc]).encode()).decode()
        place = f"//{parts.netloc}{parts.path.rstrip('/')}/"
        lines += [f"{place}:_auth={value}", f"{place}:always-auth=true"]
    return "".join(f"{line}\n" for line in lines)


def _format_yarnrc(
    registry: str, hosts: Mapping[str, tuple[str, str]], records: Mapping[str, str]
) -> str:
    """Return the lines for yarn 4. Source: https://yarnpkg.com/configuration/yarnrc#npmAuthIdent"""
    scopes: dict[str, dict[str, str]] = {}
    registries: dict[str, dict[str, object]] = {}
    for key, value in records.items():
        place, _, name = key.rpartition(":")
        if name == "registry":
            scopes[place.removeprefix("@")] = {"npmRegistryServer": value}
        elif name in YARN_NAMES:
            own = registries.setdefault(place.rstrip("/"), {"npmAlwaysAuth": True})
            own[YARN_NAMES[name]] = value
    settings: dict[str, object] = {}
    credentials = hosts.get(urlsplit(registry).netloc)
    if credentials is not None:
        settings |= {"npmAuthIdent": ":".join(credentials), "npmAlwaysAuth": True}
    settings |= {"npmScopes": scopes} if scopes else {}
    settings |= {"npmRegistries": registries} if registries else {}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
