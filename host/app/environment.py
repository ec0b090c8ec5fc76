"""The environment of what we start for an application: built from empty, each value has its origin.

Later sources win: ours, `app.json`'s defaults, the operator's file (`worker-preview.env`, or
`app.env` for production), what we give for this very start, the manifest's `[env]`. Names that
change how programs load their code never pass, whoever names them, and neither does a value that
is one of the control plane's secrets.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from host.app import command_line
from host.app.environment_policy import is_blocked, is_ours, matches, may_be_mapped
from host.app.manifest import Manifest
from host.config import Config, SlotConfig, read_env_file
from host.errors import Refused

PREVIEW_FILE = "worker-preview.env"
PRODUCTION_FILE = "app.env"
# How this host reaches the package registries: for installs only.
NETWORK = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_FIND_LINKS",
    "UV_OFFLINE",
    "PIP_INDEX_URL",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
)
CONTROL_SECRETS = ("SECRET_KEY", "DATABASE_URL", "PREVIEW_ADMIN_DATABASE_URL")
SECRET_NAME = re.compile(r"SECRET|PASS|TOKEN|KEY|CREDENTIAL|PRIVATE|AUTH|DSN|COOKIE|SALT", re.I)
MASK = "••••••••"
SHORTEST_SECRET = 6  # shorter values are too common to look for in others


@dataclass(frozen=True)
class Value:
    """One variable, and who set it."""

    name: str
    value: str
    origin: str
    secret: bool = False


@dataclass(frozen=True)
class Resolved:
    """A whole environment; `notes` are sentences about what was left out or is missing."""

    values: tuple[Value, ...]
    notes: tuple[str, ...] = ()

    @property
    def env(self) -> dict[str, str]:
        """Return the environment for a process."""
        return {value.name: value.value for value in self.values}

    def masked(self) -> list[dict[str, str]]:
        """Return each name, value and origin for people; what is or holds a secret is masked."""
        secrets = {v.value for v in self.values if v.secret and len(v.value) >= SHORTEST_SECRET}
        return [
            {"name": v.name, "value": _masked(v, secrets), "origin": v.origin} for v in self.values
        ]


def for_slot(
    config: Config, slot: SlotConfig, *, database_url: str, run_id: str, commit: str
) -> dict[str, str]:
    """Return what a slot's processes are given: port, database, addresses, whose it is."""
    frontend = config.frontend_url(slot)
    local = [f"http://{host}:{slot.web_port}" for host in ("127.0.0.1", "localhost")]
    return {
        "PORT": str(slot.backend_port),
        **for_database(database_url),
        **_addresses(config, frontend, config.backend_url(slot), local),
        "OROBOROS_SLOT": slot.slot_id,
        "OROBOROS_RUN": run_id,
        "OROBOROS_COMMIT": commit,
    }


def for_production(
    config: Config, *, port: int, database_url: str, release_id: str, commit: str
) -> dict[str, str]:
    """Return what a colour of the production app is given."""
    return {
        "PORT": str(port),
        **for_database(database_url),
        **_production(config),
        "OROBOROS_RELEASE": release_id,
        "OROBOROS_COMMIT": commit,
    }


def for_database(url: str) -> dict[str, str]:
    """Return a database URL and its parts by the names libpq reads."""
    parts = urlsplit(url)
    return {
        "DATABASE_URL": url,
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.lstrip("/")),
    }


def build(
    config: Config,
    given: Mapping[str, str],
    manifest: Manifest,
    *,
    home: Path,
    bins: Sequence[Path] = (),
    file: str = PREVIEW_FILE,
    purpose: str,
) -> Resolved:
    """Put an application's environment together.

    `home` is a private folder of whoever runs it, `bins` go first on PATH, `file` is the
    operator's. `purpose` (a slot's id, `production`) tells generated secrets apart: one keeps its
    value from start to start. Raises Refused `env_key_forbidden` or `env_secret_forbidden` (400).
    """
    notes: list[str] = []
    secret = {name: _generated(config, purpose, name) for name in manifest.env_generated}
    given = {**given, "OROBOROS_SECRET": _generated(config, purpose, "OROBOROS_SECRET")}
    sources = [
        ("oroboros", _base(home, bins) | _production(config)),
        ("app.json", _unblocked(config, manifest.env_defaults, "app.json", notes)),
        ("app.json, generated", _unblocked(config, secret, "app.json", notes)),
        (file, _operators(config, file, notes)),
        ("oroboros", given),
    ]
    found = {
        name: Value(name, value, origin, _is_secret(name, value, origin))
        for origin, values in sources
        for name, value in values.items()
    }
    found |= _mapped(config, manifest, found, notes)
    notes += [
        f"app.json requires {name}: set it in {file}."
        for name in manifest.env_required
        if name not in found
    ]
    return Resolved(tuple(sorted(found.values(), key=lambda value: value.name)), tuple(notes))


def for_install(config: Config, *, home: Path) -> dict[str, str]:
    """Return the environment of an install: the host's registries, nothing of the application's.

    A branch's own install scripts see it, so what the operator's blocklist names is left out.
    Downloads are kept below `home` and go with it: a package's build could change what others find.
    """
    blocked = _patterns(config, "BLOCKLIST")
    told = [name for name in NETWORK if config.get(name) and not matches(name, blocked)]
    network = {name: config.get(name) for name in told}
    return network | {
        **_base(home, ()),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "UV_COMPILE_BYTECODE": "1",  # the venv will be read-only, and a backend starts sooner
        "npm_config_update_notifier": "false",
    }


def _base(home: Path, bins: Sequence[Path]) -> dict[str, str]:
    path = [str(folder) for folder in bins] + ["/usr/local/bin", "/usr/bin", "/bin"]
    venv = next((folder.parent for folder in bins if folder.name == "bin"), None)
    return {
        "PATH": os.pathsep.join(path),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "CI": "1",
        "PYTHONUNBUFFERED": "1",
        **({"VIRTUAL_ENV": str(venv)} if venv else {}),
    }


def _production(config: Config) -> dict[str, str]:
    """Return production's addresses; what runs for no slot (a build, a check) has them too."""
    local = [f"http://{host}:{config.web_port}" for host in ("127.0.0.1", "localhost")]
    url = f"https://app.{config.domain}" if config.is_https else local[0]
    return _addresses(config, url, url, local)


def _addresses(config: Config, frontend: str, backend: str, local: list[str]) -> dict[str, str]:
    origins = list(dict.fromkeys([frontend, *local, *config.app_origins]))
    hosts = [urlsplit(url).hostname or "" for url in (frontend, backend, *local)]
    return {
        "FRONTEND_URL": frontend,
        "BACKEND_URL": backend,
        "CORS_ALLOWED_ORIGINS": ",".join(origins),
        "OROBOROS_HOSTS": ",".join(dict.fromkeys(hosts)),
    }


def _generated(config: Config, purpose: str, name: str) -> str:
    """Derive a secret that nobody has to keep: the same for the same purpose and name."""
    key = config.get("SECRET_KEY").encode()
    if not key:
        raise Refused("setting_missing", "SECRET_KEY is not set: the env files were not loaded.")
    return hmac.new(key, f"{purpose}:{name}".encode(), hashlib.sha256).hexdigest()


def _operators(config: Config, file: str, notes: list[str]) -> dict[str, str]:
    """Read the operator's file through the allow-list and the blocklist."""
    allowed, blocked = _patterns(config, "ALLOWLIST"), _patterns(config, "BLOCKLIST")
    found = {}
    for name, value in read_env_file(config.env_dir / file).items():
        if is_blocked(name) or is_ours(name):
            raise _forbidden(name, file)
        if matches(name, blocked):
            notes.append(f"{name} of {file} is in WORKER_SUBPROCESS_ENV_BLOCKLIST.")
        elif allowed and not matches(name, allowed):
            notes.append(f"{name} of {file} is not in WORKER_SUBPROCESS_ENV_ALLOWLIST.")
        else:
            found[name] = _harmless(config, name, value, file)
    return found


def _unblocked(
    config: Config, values: Mapping[str, str], origin: str, notes: list[str]
) -> dict[str, str]:
    """Leave out what may not be set; an application was not written for us, so it is only said."""
    blocked = _patterns(config, "BLOCKLIST")
    left_out = [n for n in values if is_blocked(n) or is_ours(n) or matches(n, blocked)]
    notes += [f"{name} of {origin} is left out: it is not the application's." for name in left_out]
    return {name: value for name, value in values.items() if name not in left_out}


def _mapped(
    config: Config, manifest: Manifest, known: Mapping[str, Value], notes: list[str]
) -> dict[str, Value]:
    """Fill in the manifest's `[env]` from what is known; it may not use its own names."""
    values = {name: value.value for name, value in known.items()}
    found = {}
    for name, text in manifest.env.items():
        if not may_be_mapped(name):
            raise _forbidden(name, "oroboros.toml, [env]")
        if matches(name, _patterns(config, "BLOCKLIST")):
            notes.append(f"{name} of oroboros.toml is in WORKER_SUBPROCESS_ENV_BLOCKLIST.")
            continue
        used = command_line.variables(text)
        notes += [f"{name}: there is no {other}." for other in sorted(used - set(values))]
        secret = _is_secret(name, text, "") or any(known[u].secret for u in used & set(known))
        value = command_line.substitute(text, values)
        found[name] = Value(name, value, "oroboros.toml", secret)
    return found


def _harmless(config: Config, name: str, value: str, origin: str) -> str:
    if any(value == config.get(secret) for secret in CONTROL_SECRETS if config.get(secret)):
        raise Refused(
            "env_secret_forbidden",
            f"{name} of {origin} is a secret of the control plane: give the application its own.",
            status=400,
        )
    return value


def _is_secret(name: str, value: str, origin: str) -> bool:
    has_password = "://" in value and bool(_password(value))
    return origin.endswith((".env", "generated")) or bool(SECRET_NAME.search(name)) or has_password


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _masked(value: Value, secrets: Iterable[str]) -> str:
    password = _password(value.value)
    if password and value.name == "DATABASE_URL":
        return value.value.replace(f":{password}@", f":{MASK}@")
    if value.secret or any(secret in value.value for secret in secrets):
        return MASK
    return value.value


def _patterns(config: Config, name: str) -> list[str]:
    return [p for p in re.split(r"[,\s]+", config.get(f"WORKER_SUBPROCESS_ENV_{name}")) if p]


def _forbidden(name: str, origin: str) -> Refused:
    return Refused(
        "env_key_forbidden", f"{name} may not be set in {origin}: take it out.", status=400
    )
