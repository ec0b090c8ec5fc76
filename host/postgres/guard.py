"""Which database may be touched: the template field by field, names one by one. Pure.

The parser is libpq's own, since what counts is where libpq would connect: it takes several hosts,
decodes percents in every part, and lets the query override all of them (each seen to happen).
`database.Admin` asks the server itself afterwards: `check_server` before any DDL, and
`check_target` the database as its role sees it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from host.config import Config, SlotConfig
from host.errors import Refused

SETTING = "PREVIEW_BACKEND_DATABASE_URL_TEMPLATE"
PLACEHOLDERS = ("slot", "slot_num", "db_name")
SCHEME = re.compile(r"(?:postgres|postgresql)(?:\+[a-z0-9_]{1,30})?")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MAINTENANCE = frozenset({"postgres", "template0", "template1"})
NAME_BYTES = 63  # PostgreSQL cuts longer names without an error, and two slots would share one
TEMPLATE_ROLE = "app_template"
GATE_ROLE = "app_gate"
TEMPLATE_NAME = re.compile(r"app_template_[0-9a-f]{12}")
SPARE_NAME = re.compile(r"app_spare_[0-9a-f]{12}")
GATE_NAME = re.compile(r"app_gate_[0-9a-z_-]{1,40}")


@dataclass(frozen=True)
class Target:
    """Where a slot's application connects; `scheme` may name a driver (`postgresql+psycopg`)."""

    scheme: str
    host: str
    port: int
    database: str


def unsafe(reason: str, sentence: str) -> Refused:
    """Return the refusal of a target: one code, with the reason for programs in `fields`."""
    detail = f"{sentence} ({reason}) Mend {SETTING} and run the command again."
    return Refused("unsafe_database_target", detail, fields={SETTING: reason})


def target(config: Config, slot: SlotConfig) -> Target:
    """Resolve the template for `slot`. Raises Refused `unsafe_database_target`."""
    url = _filled(config.preview_database_url_template, slot)
    scheme, separator, rest = url.partition("://")
    if not separator or not SCHEME.fullmatch(scheme):
        raise unsafe("db_url_scheme", "The URL must begin with postgresql:// or postgres://.")
    if "?" in rest or "#" in rest:
        raise unsafe("db_url_query", "The URL must have no query: it can override every field.")
    parts = parse(f"postgresql://{rest}")
    host = _host(config, parts, rest)
    _database(config, slot, parts.get("dbname", ""))
    return Target(scheme, host, _port(parts.get("port") or "5432"), parts["dbname"])


def _filled(template: str, slot: SlotConfig) -> str:
    if any(ord(char) <= 32 or ord(char) == 127 for char in template):
        raise unsafe("template_invalid", "The template has a space or a control character in it.")
    values = {"slot": slot.slot_id, "slot_num": str(slot.number), "db_name": slot.database}
    url = template
    for name in PLACEHOLDERS:
        url = url.replace(f"{{{name}}}", values[name])
    if "{" in url or "}" in url:
        raise unsafe("template_invalid", "Only {slot}, {slot_num} and {db_name} are filled in.")
    return url


def parse(url: str) -> dict[str, str]:
    """Return the fields libpq would use. Raises Refused `unsafe_database_target`."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except ProgrammingError:  # its text quotes the URL, which may hold a password
        raise unsafe("db_url_invalid", "libpq cannot read the URL.") from None


def _host(config: Config, parts: Mapping[str, str], rest: str) -> str:
    host = parts.get("host", "")
    if "," in host or "," in parts.get("port", ""):
        raise unsafe("db_url_multihost", "The URL names several hosts; it must name one.")
    if "@" in host or host != _plain_host(rest):
        raise unsafe("db_url_invalid", "The URL can be read in two ways; encode the password.")
    admin = parse(config.preview_admin_database_url).get("host", "")
    allowed = {admin} | (LOOPBACK if admin in LOOPBACK else set())
    if not host or host not in allowed:
        raise unsafe("db_host_not_allowed", f"{host or 'No host'} is not the previews' server.")
    return host


def _plain_host(rest: str) -> str:
    """Return the host as most drivers read it; where libpq reads another one, nobody is right."""
    try:
        return urlsplit(f"//{rest}").hostname or ""
    except ValueError:
        raise unsafe("db_url_invalid", "The host cannot be read.") from None


def _port(raw: str) -> int:
    port = int(raw) if raw.isascii() and raw.isdigit() else 0
    if not 0 < port < 65536:
        raise unsafe("db_url_invalid", "The port must be a number from 1 to 65535.")
    return port


def _database(config: Config, slot: SlotConfig, name: str) -> None:
    if len(name.encode()) > NAME_BYTES:
        raise unsafe("db_name_too_long", f"A database name has at most {NAME_BYTES} bytes.")
    if name in protected(config):
        raise unsafe("db_name_protected", f"{name} is not a preview's database.")
    if name != slot.database:
        raise unsafe("db_name_not_of_slot", f"The database of {slot.slot_id} is {slot.database}.")


def protected(config: Config) -> frozenset[str]:
    """Return the names no preview may touch: the server's, the control plane's, production's."""
    control = parse(config.database_url).get("dbname", "") if config.database_url else ""
    return MAINTENANCE | {control, config.production_database} - {""}


def application_url(target: Target, role: str, password: str) -> str:
    """Return the URL an application is given: the template's server, its own role."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    secret = quote(password, safe="")
    return f"{target.scheme}://{role}:{secret}@{host}:{target.port}/{target.database}"


def server_url(target: Target, role: str, password: str) -> str:
    """Return the same without the driver, as libpq takes it."""
    url = application_url(target, role, password)
    return f"postgresql://{url.partition('://')[2]}"


def template_name(commit: str) -> str:
    """Return the name of the template database of that commit of main."""
    return f"app_template_{commit[:12]}"


def spare_name(template: str) -> str:
    """Return the name of the copy that is kept ready for that template's next clone."""
    return template.replace("app_template_", "app_spare_")


def gate_name(run_id: object) -> str:
    """Return the name of the database on which that run's candidate is migrated."""
    return f"app_gate_{run_id}"


def check_name(config: Config, name: str) -> str:
    """Return `name` if the pipeline may create and drop it, else raise `unsafe_database_target`.

    Those are app_preview_N, app_template_<12 hex>, app_spare_<12 hex> and app_gate_<run>; for
    production's see `check_production_name`.
    """
    if not is_pipelines(config, name):
        raise _protected("database", f"{name!r} is no database of the pipeline.")
    return name


def is_pipelines(config: Config, name: str) -> bool:
    """Say whether the database of that name is the pipeline's to create and drop."""
    slots = {slot.database for slot in config.slots}
    kinds = (TEMPLATE_NAME, SPARE_NAME, GATE_NAME)
    ours = name in slots or any(kind.fullmatch(name) for kind in kinds)
    return ours and name not in protected(config)


def check_production_name(config: Config, name: str) -> str:
    """Return `name` if it is production's database, else raise `unsafe_database_target`."""
    control = parse(config.database_url).get("dbname") if config.database_url else None
    if name != config.production_database or name in MAINTENANCE | {control}:
        raise _protected("database", f"{name!r} is not the production database.")
    return name


def check_role(config: Config, role: str) -> str:
    """Return `role` if it is one of an application's, else raise `unsafe_database_target`."""
    known = {slot.database for slot in config.slots} | {TEMPLATE_ROLE, GATE_ROLE}
    if role not in known | {config.production_database}:
        raise _protected("role", f"{role!r} is no role of an application.")
    return role


def _protected(kind: str, sentence: str) -> Refused:
    reason = f"db_{'name' if kind == 'database' else kind}_protected"
    detail = f"{sentence} ({reason}) Nothing was done."
    return Refused("unsafe_database_target", detail, fields={kind: reason})
