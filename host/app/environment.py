"""Builds the environment of an application's processes from empty; each variable has its origin.

Later sources win: our base, the defaults of `app.json`, the operator's file (`worker-preview.env`,
or `app.env` for production), the variables of this start (port, database, addresses), `[env]` of
the manifest. Names that change how programs load their code are rejected from every source, and so
is a value that equals a secret of the control plane.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from host.app import command_line
from host.app.dependencies import registries
from host.app.environment_policy import (
    can_manifest_set,
    describe_left_out,
    forbid,
    is_blocked,
    is_matched_by,
    is_reserved,
    split_patterns,
)
from host.app.manifest import Manifest
from host.app.resources import mail, user_header
from host.config import Config, SlotConfig, read_env_file
from host.errors import Refused
from host.masking import control_secrets
from host.masking.masks import MASK, MIN_SECRET_LENGTH

PREVIEW_FILE = "worker-preview.env"
PRODUCTION_FILE = "app.env"
# For builds, in previews too: what a build has there, production's build has.
BUILD_FILE = "build.env"
# Where servers listen that read it from the environment: Node's, Next.js's, uvicorn's variable.
LISTEN_VARIABLES = dict.fromkeys(("HOST", "HOSTNAME", "UVICORN_HOST"), "127.0.0.1")
# Go looks for a repository above the tree, asks git about it, and fails if git does not answer.
NO_GO_STAMP = {"GOFLAGS": "-buildvcs=false"}
# What a command is for: `run` is the application itself, its `release:` and its seed.
STAGE_VARIABLES: dict[str, dict[str, str]] = {
    "run": {"NODE_ENV": "production"},
    "build": {
        "NODE_ENV": "production",
        "CI": "1",  # tools ask no questions and draw no progress bars
        # A build may install by itself: its tools are development dependencies.
        "npm_config_include": "dev",
        "YARN_PRODUCTION": "false",
        **NO_GO_STAMP,
    },
    # Test runners set NODE_ENV themselves.
    "check": {"CI": "1", **NO_GO_STAMP},
    "install": {"CI": "1"},
}
# No role has this name: a build that connects fails, and the server's message says why.
BUILD_DATABASE = "no_database_in_builds"
SECRET_NAME_PATTERN = re.compile(
    r"SECRET|PASS|TOKEN|KEY|CREDENTIAL|PRIVATE|AUTH|DSN|COOKIE|SALT", re.I
)


@dataclass(frozen=True)
class Variable:
    """One variable, and the source that set it."""

    name: str
    value: str
    origin: str
    secret: bool = False


@dataclass(frozen=True)
class ResolvedEnvironment:
    """A complete environment; `notes` are sentences about variables left out or missing."""

    values: tuple[Variable, ...]
    notes: tuple[str, ...] = ()

    @property
    def env(self) -> dict[str, str]:
        """Return the environment for a process."""
        return {value.name: value.value for value in self.values}

    def mask_secrets(self) -> list[dict[str, str]]:
        """Return name, value and origin of each; a value that is or contains a secret is masked."""
        secrets = {v.value for v in self.values if v.secret and len(v.value) >= MIN_SECRET_LENGTH}
        return [
            {"name": v.name, "value": _masked(v, secrets), "origin": v.origin} for v in self.values
        ]


def build_slot_variables(
    config: Config,
    slot: SlotConfig,
    *,
    database_url: str,
    run_id: str,
    commit: str,
    branch: str = "",
    label: str,
) -> dict[str, str]:
    """Return the variables of a slot's processes: port, database, addresses, run and commit.

    The addresses are those of the run with that label; probes use the slot's shared names.
    """
    frontend = config.frontend_url(slot, label)
    shared = (config.shared_host(slot), "127.0.0.1", "localhost")
    local = [f"http://{host}:{slot.web_port}" for host in shared]
    return {
        "PORT": str(slot.backend_port),
        **build_database_variables(database_url),
        **mail.build_variables(slot.mail_port),
        **_addresses(config, frontend, config.backend_url(slot, label), local),
        "OROBOROS_PREVIEW_URL": frontend,
        "OROBOROS_SLOT": slot.slot_id,
        "OROBOROS_RUN": run_id,
        **build_source_variables(commit, branch),
    }


def build_production_variables(
    config: Config, *, port: int, database_url: str, release_id: str, commit: str
) -> dict[str, str]:
    """Return the variables of the production app in the colour that listens on `port`."""
    return {
        "PORT": str(port),
        **build_database_variables(database_url),
        **_production_addresses(config),
        "OROBOROS_RELEASE": release_id,
        **build_source_variables(commit, config.target_branch),
    }


def build_source_variables(commit: str, branch: str) -> dict[str, str]:
    """Return what programs otherwise ask git for: a tree of ours is no git repository.

    SOURCE_VERSION is Heroku's name of the commit.
    """
    return {"OROBOROS_COMMIT": commit, "OROBOROS_BRANCH": branch, "SOURCE_VERSION": commit}


def select_build_variables(config: Config, variables: Mapping[str, str]) -> dict[str, str]:
    """Return which of a start's variables a build gets: the same names for each slot and release.

    Its database does not exist, as production's build may not reach production's.
    """
    parts = urlsplit(config.preview_database_url_template)
    address = parts.netloc.rpartition("@")[2]
    url = f"{parts.scheme}://{BUILD_DATABASE}:none@{address}/{BUILD_DATABASE}"
    left_out = {"OROBOROS_SLOT", "OROBOROS_RUN", "OROBOROS_RELEASE", "OROBOROS_PREVIEW_URL"}
    # Production has the latter from app.env, which no build reads.
    left_out |= {user_header.KEY_VARIABLE, *mail.NAMES}
    others = {name: value for name, value in variables.items() if name not in left_out}
    return {**others, **build_database_variables(url)}


def build_database_variables(url: str) -> dict[str, str]:
    """Return DATABASE_URL and the variables that libpq reads.

    Source: https://www.postgresql.org/docs/current/libpq-envars.html
    """
    parts = urlsplit(url)
    return {
        "DATABASE_URL": url,
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.lstrip("/")),
    }


def build_environment(
    config: Config,
    variables: Mapping[str, str],
    manifest: Manifest,
    *,
    home: Path,
    bins: Sequence[Path] = (),
    file: str = PREVIEW_FILE,
    purpose: str,
    stage: str = "run",
) -> ResolvedEnvironment:
    """Build an application's environment.

    `variables` are those of this start, `home` is a private folder of the process's user, `bins` go
    first on PATH, `file` is the name of the operator's file, `stage` one of STAGE_VARIABLES. A
    generated secret depends on its name and on `purpose` (a slot's id, `production`), so it is the
    same at each start. Raises Refused `env_key_forbidden`, `env_secret_forbidden` (400),
    `setting_missing`.
    """
    notes: list[str] = []
    generated = {name: _derive_secret(config, purpose, name) for name in manifest.env_generated}
    own_secret = _derive_secret(config, purpose, "OROBOROS_SECRET")
    base = (
        dict(registries.find_registries(config).variables if stage != "run" else {})
        | _base_variables(config.var, home, bins, stage)
        | LISTEN_VARIABLES
        | _production_addresses(config)
    )
    sources = [
        ("oroboros", base),
        ("detected", manifest.list_detected_variables(variables.get("PORT"))),
        ("app.json", _filter_app_json(config, manifest.env_defaults, notes)),
        ("app.json, generated", _filter_app_json(config, generated, notes)),
        (file, _read_operator_file(config, file, notes)),
        ("oroboros", {**variables, "OROBOROS_SECRET": own_secret}),
    ]
    found = {
        name: Variable(name, value, origin, _is_secret(name, value, origin))
        for origin, values in sources
        for name, value in values.items()
    }
    # A manifest is production's too, whose mail server no preview may use.
    sink = {n: found[n] for n in mail.NAMES & found.keys() if found[n].origin == "oroboros"}
    # Last: they refer to the variables of all other sources.
    found |= _map_variables(config, manifest, found, notes) | sink
    notes += [
        f"app.json requires {name}: set it in {file}."
        for name in manifest.env_required
        if name not in found
    ]
    return ResolvedEnvironment(
        tuple(sorted(found.values(), key=lambda variable: variable.name)), tuple(notes)
    )


def build_install_environment(config: Config, *, home: Path) -> dict[str, str]:
    """Return the environment of an install: the host's registries, no value of the application.

    A branch's own install scripts see it, so names on the operator's blocklist are left out. The
    registries' passwords are not in it: see `registries.write_files`.
    Downloads are cached below `home` and deleted with it: a package's build could change a cache
    that other installs use.
    """
    return {
        **registries.find_registries(config).variables,
        **_base_variables(config.var, home, (), "install"),
        "UV_PYTHON_DOWNLOADS": "never",  # the interpreter is the operator's choice
        "UV_NO_PROGRESS": "1",
        "UV_COMPILE_BYTECODE": "1",  # the venv becomes read-only: Python could not cache it later
        "npm_config_update_notifier": "false",
        # yarn 4: a folder in place of its own loader, and no program that the tree names.
        "YARN_NODE_LINKER": "node-modules",
        "YARN_IGNORE_PATH": "1",
        "YARN_ENABLE_GLOBAL_CACHE": "false",
        "YARN_ENABLE_TELEMETRY": "0",
        "GOFLAGS": "-modcacherw",  # a read-only cache could not be deleted
    }


def _base_variables(var: Path, home: Path, bins: Sequence[Path], stage: str) -> dict[str, str]:
    path = [str(folder) for folder in bins] + ["/usr/local/bin", "/usr/bin", "/bin"]
    venv = next((folder.parent for folder in bins if folder.name == "bin"), None)
    return {
        "PATH": os.pathsep.join(path),
        "HOME": str(home),
        "TMPDIR": str(home),  # /tmp is shared with other users
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "GIT_CEILING_DIRECTORIES": str(var),  # git would take a repository above for the tree's
        "PYTHONUNBUFFERED": "1",  # a log would show output in blocks
        **STAGE_VARIABLES[stage],
        **({"VIRTUAL_ENV": str(venv)} if venv else {}),
    }


def _production_addresses(config: Config) -> dict[str, str]:
    """Return production's addresses; builds and checks, which belong to no slot, have them too."""
    local = [f"http://{host}:{config.web_port}" for host in ("127.0.0.1", "localhost")]
    url = f"https://{config.app_host}" if config.is_https else local[0]
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


def _derive_secret(config: Config, purpose: str, name: str) -> str:
    """Derive a secret from SECRET_KEY: the same purpose and name give the same secret."""
    key = config.get("SECRET_KEY").encode()
    if not key:
        raise Refused("setting_missing", "SECRET_KEY is not set: load the env files first.")
    return hmac.new(key, f"{purpose}:{name}".encode(), hashlib.sha256).hexdigest()


def _read_operator_file(config: Config, file: str, notes: list[str]) -> dict[str, str]:
    """Return the variables of the operator's file that the allow-list and the blocklist pass."""
    variables = {}
    for name, value in read_env_file(config.env_dir / file).items():
        if note := check_operator_variable(config, name, value, file):
            notes.append(note)
        else:
            variables[name] = value
    return variables


def check_operator_variable(config: Config, name: str, value: str, file: str) -> str:
    """Return why no process gets a variable of the operator's file; "" if they get it.

    Raises Refused `env_key_forbidden`, `env_secret_forbidden` (400).
    """
    if is_blocked(name) or is_reserved(name):
        raise forbid(name, file)
    allowed, blocked = _patterns(config, "ALLOWLIST"), _patterns(config, "BLOCKLIST")
    if note := describe_left_out(name, file, allowed, blocked):
        return note
    _check_no_control_secret(config, name, value, file)
    return ""


def _filter_app_json(config: Config, values: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Leave out, with a note, what may not be set: the file was written for Heroku, not for us."""
    blocked = _patterns(config, "BLOCKLIST")
    left_out = [n for n in values if is_blocked(n) or is_reserved(n) or is_matched_by(n, blocked)]
    notes += [
        f"{name} of app.json is left out: Oroboros or the operator forbids it." for name in left_out
    ]
    return {name: value for name, value in values.items() if name not in left_out}


def _map_variables(
    config: Config, manifest: Manifest, known: Mapping[str, Variable], notes: list[str]
) -> dict[str, Variable]:
    """Return the manifest's `[env]`, filled in from the `known` variables, not from each other."""
    values = {name: variable.value for name, variable in known.items()}
    mapped = {}
    for name, text in manifest.env.items():
        if not can_manifest_set(name):
            raise forbid(name, "oroboros.toml, [env]")
        if is_matched_by(name, _patterns(config, "BLOCKLIST")):
            notes.append(f"{name} of oroboros.toml is in WORKER_SUBPROCESS_ENV_BLOCKLIST.")
            continue
        notes += _describe_missing(name, text, values.keys())
        text = command_line.escape_unknown_variables(text, values.keys())
        used = command_line.find_variables(text) & set(known)
        secret = _is_secret(name, text, "") or any(known[other].secret for other in used)
        value = command_line.substitute_variables(text, values)
        mapped[name] = Variable(name, value, "oroboros.toml", secret)
    return mapped


def _describe_missing(name: str, text: str, known: AbstractSet[str]) -> Iterator[str]:
    """Yield a note for each variable that a value of `[env]` names and that has no value."""
    bare, braced = command_line.find_missing_variables(text, known)
    for other in sorted(braced):
        yield f"{name}: the variable {other} is not set."
    for other in sorted(bare):
        yield f"{name}: no variable is named {other}, so ${other} stays: write $${other} for that."


def _check_no_control_secret(config: Config, name: str, value: str, origin: str) -> None:
    if value in filter(None, map(config.get, control_secrets.OWN)):
        raise Refused(
            "env_secret_forbidden",
            f"{name} of {origin} is a secret of the control plane: give the application its own.",
            status=400,
        )


def _is_secret(name: str, value: str, origin: str) -> bool:
    has_password = "://" in value and bool(_password(value))
    return (
        origin.endswith((".env", "generated"))
        or bool(SECRET_NAME_PATTERN.search(name))
        or has_password
    )


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _masked(value: Variable, secrets: Iterable[str]) -> str:
    password = _password(value.value)
    # The rest of this URL helps to find a mistake, and is not secret.
    if password and value.name == "DATABASE_URL":
        return value.value.replace(f":{password}@", f":{MASK}@")
    if value.secret or any(secret in value.value for secret in secrets):
        return MASK
    return value.value


def _patterns(config: Config, name: str) -> list[str]:
    return split_patterns(config.get(f"WORKER_SUBPROCESS_ENV_{name}"))
