"""The units of the surfaces and the router, all of them Caddy, and starting those that died."""

import os
import sys
from pathlib import Path

from host import loopback
from host.config import Config
from host.units.local_manager import LocalManager
from host.units.unit import Unit
from slots.runtime import surface, surface_env_files

WEBSOCKET_SECONDS = 300
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
ROUTER, SURFACE_PREFIX = "ouroboros-caddy", "ouroboros-web@"
# Caddy collects its garbage when its heap has grown by this share: 4 MB less for each at rest than
# with Go's 100.
GARBAGE_PERCENT = "50"


def build_web_units(config: Config) -> list[Unit]:
    """Return the units of the surfaces and the router."""
    names = surface_env_files.list_names(config)
    return [*(_build_surface_unit(config, name) for name in names), _build_router_unit(config)]


def format_slot_pattern(config: Config) -> str:
    """Return the pattern of the numbers of the slots, for the router."""
    return "|".join(str(slot.number) for slot in config.slots)


def format_protection(config: Config) -> str:
    """Return the name of the router's snippet that decides who sees previews."""
    return "protected" if config.is_protected else "open"


def find_router_config(config: Config) -> Path:
    """Return the path of the router's configuration: with OROBOROS_PUBLIC another file."""
    return config.home / "infra/caddy" / _name_router_config(config)


def _name_router_config(config: Config) -> str:
    return "Public.Caddyfile" if config.is_public else "Caddyfile"


def build_router_settings(config: Config) -> dict[str, str]:
    """Return the variables that the router alone reads, besides its ports on loopback."""
    values = {
        "ROUTER_CONFIG": _name_router_config(config),
        "PREVIEW_PROTECTION": format_protection(config),
        "ADMIN_ORIGIN": config.admin_url.removesuffix("/admin/"),
        "WEB_SLOTS": format_slot_pattern(config),
        # Caddy: 0 is without an end. Nothing is revoked where previews are open.
        "WEBSOCKET_SECONDS": f"{_get_websocket_seconds(config)}s",
    }
    if not config.is_public:
        return values
    return values | {
        "HTTP_PORT": str(config.http_port),
        "HTTPS_PORT": str(config.https_port),
        "HTTPS_SUFFIX": config.https_suffix,
        "ACME_DIRECTORY": config.get("ACME_DIRECTORY", LETS_ENCRYPT),
        "ACME_CA_ROOT": config.get("ACME_CA_ROOT"),
        "ACME_EMAIL": config.get("ACME_EMAIL"),
        # The names of snippets: Caddy accepts neither of the two settings without a value.
        "ACME_AUTHORITY": f"{'private' if config.get('ACME_CA_ROOT') else 'public'}_authority",
        "ACME_CONTACT": "contact" if config.get("ACME_EMAIL") else "no_contact",
    }


def _get_websocket_seconds(config: Config) -> int:
    """Return after how long the router ends a preview's WebSocket; 0: never."""
    seconds = config.get_integer("PREVIEW_WEBSOCKET_SECONDS", WEBSOCKET_SECONDS)
    return seconds if config.is_protected else 0


def start_dead_units(config: Config) -> list[str]:
    """Start the surfaces and the router that were started, not stopped, and died; return them.

    For hosts without systemd, which restarts its own. Raises Refused as the manager's `start`.
    """
    if config.is_systemd:
        return []
    manager = LocalManager(config)
    names = [name for name in manager.list_names() if name.startswith((SURFACE_PREFIX, ROUTER))]
    dead = [name for name in names if not manager.status(name).is_active]
    units = [unit for unit in build_web_units(config) if unit.name in dead] if dead else []
    return [unit.name for unit in units if manager.start_if_dead(unit)]


def _build_unit(
    config: Config, name: str, argv: tuple[str, ...], env: dict[str, str], port: int
) -> Unit:
    folder = str(config.var / "caddy")
    environment = {"PATH": os.defpath, "XDG_DATA_HOME": folder, "GOGC": GARBAGE_PERCENT, **env}
    log = config.var / "log" / f"{name}.log"
    return Unit(name, argv, config.home, environment, None, log, port, ends_its_children=True)


def _build_surface_unit(config: Config, name: str) -> Unit:
    env = surface.build_environment(config, name)
    argv = tuple(surface.build_command(config))
    return _build_unit(config, f"{SURFACE_PREFIX}{name}", argv, env, int(env["WEB_PORT"]))


def _build_router_unit(config: Config) -> Unit:
    caddy = str(Path(sys.executable).with_name("caddy"))
    argv = (caddy, "run", "--config", str(find_router_config(config)), "--adapter", "caddyfile")
    env = {
        "OROBOROS_DOMAIN": config.domain,
        "LOOPBACKS": loopback.format_hosts(),
        "ROUTER_PORT": str(config.router_port),
        # Relative to its working directory: the kernel limits a socket's path to 107 bytes.
        "ROUTER_ADMIN_SOCKET": os.path.relpath(config.var / "run/caddy.sock", config.home),
        "API_PORT": str(config.api_port),
        "WEB_MAIN_PORT": str(config.web_port),
        "SLOTS_ROOT": str(config.var / "slots"),
        **build_router_settings(config),
        **{f"WEB_PREVIEW{slot.number}_PORT": str(slot.web_port) for slot in config.slots},
    }
    return _build_unit(config, ROUTER, argv, env, config.router_port)
