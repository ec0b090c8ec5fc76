"""The database guard: checks the URL template field by field, and names of databases and roles.

It makes no connection. The parser is libpq's own, because libpq decides where a connection leads:
it accepts several hosts, decodes percent signs in every part, and lets the query override all other
fields. `administration.DatabaseAdmin` asks the server itself afterwards: `check_server` before any
DDL, `check_target` once the database exists.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from host.config import Config, SlotConfig
from host.errors import Refused

SETTING = "PREVIEW_BACKEND_DATABASE_URL_TEMPLATE"
PLACEHOLDERS = ("slot", "slot_num", "db_name")
SCHEME = re.compile(r"(?:postgres|postgresql)(?:\+[a-z0-9_]{1,30})?")
# Any parser reads the same fields from such a URL: no escapes, brackets, lists or query.
PLAIN_URL = re.compile(
    r"postgresql://(?:(?P<user>[\w.~-]+)(?::(?P<password>[\w.~-]+))?@)?"
    r"(?P<host>[a-z0-9.-]+)(?::(?P<port>[0-9]+))?(?:/(?P<dbname>[\w.~-]+)?)?",
    re.ASCII,
)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MAINTENANCE = frozenset({"postgres", "template0", "template1"})
# PostgreSQL truncates longer names without an error, so two slots would share one database.
NAME_BYTES = 63
LIBPQ_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
TEMPLATE_NAME = re.compile(r"app_template_[0-9a-f]{12}")
SPARE_NAME = re.compile(r"app_spare_[0-9a-f]{12}")
GATE_NAME = re.compile(r"app_gate_[0-9a-z_-]{1,40}")


@dataclass(frozen=True)
class Target:
    """Where a slot's application connects; `scheme` may name a driver: `postgresql+psycopg`."""

    scheme: str
    host: str
    port: int
    database: str


def build_target_refusal(reason: str, sentence: str) -> Refused:
    """Return the refusal of a target: one code for all, and the reason's code in `fields`."""
    detail = f"{sentence} ({reason}) Correct {SETTING} and run the command again."
    return Refused("unsafe_database_target", detail, fields={SETTING: reason})


def resolve_target(config: Config, slot: SlotConfig) -> Target:
    """Fill the URL template in for `slot` and check it. Raises Refused `unsafe_database_target`."""
    url = _fill_template(config.preview_database_url_template, slot)
    scheme, separator, rest = url.partition("://")
    if not separator or not SCHEME.fullmatch(scheme):
        raise build_target_refusal(
            "db_url_scheme", "The URL must begin with postgresql:// or postgres://."
        )
    if "?" in rest or "#" in rest:
        raise build_target_refusal(
            "db_url_query", "The URL must have no query, which can override every field."
        )
    parts = parse_url(f"postgresql://{rest}")
    host = _check_host(config, parts, rest)
    _check_database(config, slot, parts.get("dbname", ""))
    return Target(scheme, host, _parse_port(parts.get("port") or "5432"), parts["dbname"])


def _fill_template(template: str, slot: SlotConfig) -> str:
    if any(ord(char) <= 32 or ord(char) == 127 for char in template):
        raise build_target_refusal(
            "template_invalid", "The template contains a space or a control character."
        )
    values = {"slot": slot.slot_id, "slot_num": str(slot.number), "db_name": slot.database}
    url = template
    for name in PLACEHOLDERS:
        url = url.replace(f"{{{name}}}", values[name])
    if "{" in url or "}" in url:
        raise build_target_refusal(
            "template_invalid", "The only placeholders are {slot}, {slot_num} and {db_name}."
        )
    return url


def parse_url(url: str) -> dict[str, str]:
    """Return the fields that libpq would use. Raises Refused `unsafe_database_target`."""
    if match := PLAIN_URL.fullmatch(url):
        return {key: value for key, value in match.groupdict().items() if value is not None}
    # Imported here: it takes 0.2 s, as long as the rest of a slot's restart.
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except ProgrammingError:  # not chained: its text quotes the URL, which may contain a password
        raise build_target_refusal("db_url_invalid", "libpq cannot read the URL.") from None


def _check_host(config: Config, parts: Mapping[str, str], rest: str) -> str:
    host = parts.get("host", "")
    if "," in host or "," in parts.get("port", ""):
        raise build_target_refusal(
            "db_url_multihost", "The URL names several hosts; it must name one."
        )
    if "@" in host or host != _parse_host(rest):
        raise build_target_refusal(
            "db_url_invalid", "The URL is ambiguous; percent-encode the password."
        )
    admin_host = parse_url(config.preview_admin_database_url).get("host", "")
    allowed = {admin_host} | (LOOPBACK if admin_host in LOOPBACK else set())
    if not host or host not in allowed:
        raise build_target_refusal(
            "db_host_not_allowed", f"{host or 'No host'} is not the host of the previews' server."
        )
    return host


def _parse_host(rest: str) -> str:
    """Return the host as most drivers read it; the URL is refused if libpq reads another one."""
    try:
        return urlsplit(f"//{rest}").hostname or ""
    except ValueError:
        raise build_target_refusal("db_url_invalid", "The host cannot be parsed.") from None


def _parse_port(raw: str) -> int:
    port = int(raw) if raw.isascii() and raw.isdigit() else 0
    if not 0 < port < 65536:
        raise build_target_refusal("db_url_invalid", "The port must be a number from 1 to 65535.")
    return port


def _check_database(config: Config, slot: SlotConfig, name: str) -> None:
    if len(name.encode()) > NAME_BYTES:
        raise build_target_refusal(
            "db_name_too_long", f"A database name has at most {NAME_BYTES} bytes."
        )
    if name in find_protected_names(config):
        raise build_target_refusal("db_name_protected", f"{name} is not a preview's database.")
    if name != slot.database:
        raise build_target_refusal(
            "db_name_not_of_slot", f"The database of {slot.slot_id} is {slot.database}."
        )


def is_administrators_address(config: Config, target: Target) -> bool:
    """Return whether the target's host and port are those at which the administrator connects."""
    admin = parse_url(config.preview_admin_database_url)
    address = (admin.get("host"), admin.get("port", "5432"))
    # With a hostaddr, libpq connects to that address and not to the host.
    return address == (target.host, str(target.port)) and "hostaddr" not in admin


def find_protected_names(config: Config) -> frozenset[str]:
    """Return the names no preview may use: the server's, the control plane's, production's."""
    control = parse_url(config.database_url).get("dbname", "") if config.database_url else ""
    return MAINTENANCE | {control, config.production_database} - {""}


def application_url(target: Target, role: str, password: str) -> str:
    """Return the application's DATABASE_URL: the template's server, the application's role."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    secret = quote(password, safe="")
    return f"{target.scheme}://{role}:{secret}@{host}:{target.port}/{target.database}"


def server_url(target: Target, role: str, password: str) -> str:
    """Return the same URL without the driver, as libpq accepts it."""
    return strip_driver(application_url(target, role, password))


def strip_driver(url: str) -> str:
    """Return a database URL without the driver in its scheme, which libpq does not accept."""
    return f"postgresql://{url.partition('://')[2]}"


def database_name(environment: Mapping[str, str]) -> str | None:
    """Return the database that an application with this environment connects to; None if none."""
    scheme, _, rest = environment.get("DATABASE_URL", "").partition("://")
    # A manifest may replace DATABASE_URL for a driver with another scheme; PG* are always ours.
    if SCHEME.fullmatch(scheme):
        return unquote(urlsplit(f"//{rest}").path.lstrip("/")) or None
    return environment.get("PGDATABASE") or None


def check_environment(target: Target, role: str, environment: Mapping[str, str]) -> None:
    """Check that an application with this environment connects to the target, as `role`.

    Raises Refused `unsafe_database_target`.
    """
    expected = {"host": target.host, "port": str(target.port), "dbname": target.database}
    expected["user"] = role
    variables = {name: environment.get(variable) for name, variable in LIBPQ_VARIABLES.items()}
    scheme, _, rest = environment.get("DATABASE_URL", "").partition("://")
    in_url = parse_url(f"postgresql://{rest}") if SCHEME.fullmatch(scheme) else {}
    for name, value in expected.items():
        if {variables[name], in_url.get(name)} - {None, value}:
            raise build_target_refusal(
                "db_target_is_another", "The backend's environment names another database."
            )


def template_name(commit: str) -> str:
    """Return the name of the template database of that commit of the target branch."""
    return f"app_template_{commit[:12]}"


def spare_name(template: str) -> str:
    """Return the name of the spare copy of that template, which its next clone takes."""
    return template.replace("app_template_", "app_spare_")


def gate_name(run_id: object) -> str:
    """Return the name of the database on which the merge gate migrates that run's candidate."""
    return f"app_gate_{run_id}"


def check_pipeline_name(config: Config, name: str) -> str:
    """Return `name` if the pipeline may create and drop that database.

    Those are app_preview_N, app_template_<12 hex>, app_spare_<12 hex> and app_gate_<run>; for
    production's see `check_production_name`. Raises Refused `unsafe_database_target` otherwise.
    """
    if not is_pipeline_database(config, name):
        raise _build_protected_refusal("database", f"{name!r} is not a database of the pipeline.")
    return name


def is_pipeline_database(config: Config, name: str) -> bool:
    """Return whether the pipeline may create and drop a database of that name."""
    slots = {slot.database for slot in config.slots}
    patterns = (TEMPLATE_NAME, SPARE_NAME, GATE_NAME)
    is_known = name in slots or any(pattern.fullmatch(name) for pattern in patterns)
    return is_known and name not in find_protected_names(config)


def check_production_name(config: Config, name: str) -> str:
    """Return `name` if it is production's database, else raise `unsafe_database_target`."""
    control = parse_url(config.database_url).get("dbname") if config.database_url else None
    if name != config.production_database or name in MAINTENANCE | {control}:
        raise _build_protected_refusal("database", f"{name!r} is not the production database.")
    return name


def release_role(config: Config) -> str:
    """Return the role as which production's `release:` connects."""
    return f"{config.production_database}_release"


def list_production_roles(config: Config) -> set[str]:
    """Return the roles of production's application."""
    return {config.production_database, release_role(config)}


def check_role(config: Config, role: str) -> str:
    """Return `role` if it is an application's role, else raise `unsafe_database_target`."""
    slots = {slot.database for slot in config.slots}
    if role not in slots | list_production_roles(config) and not has_own_role(role):
        raise _build_protected_refusal("role", f"{role!r} is not a role of an application.")
    return role


def has_own_role(database: str) -> bool:
    """Return whether the database has a role of its own, which is made and dropped with it.

    Such a role has the database's name. One role for all templates would not do: two of them may
    be built at once, and each build gives its role a new password.
    """
    return any(pattern.fullmatch(database) for pattern in (TEMPLATE_NAME, GATE_NAME))


def _build_protected_refusal(kind: str, sentence: str) -> Refused:
    reason = f"db_{'name' if kind == 'database' else kind}_protected"
    detail = f"{sentence} ({reason}) Nothing was changed."
    return Refused("unsafe_database_target", detail, fields={kind: reason})
