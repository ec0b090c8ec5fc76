"""The settings of notifications: networks, and the mail server."""

from pathlib import Path
from typing import Any

from host.config import Config
from host.errors import Refused
from host.masking.secret_file import read_secret
from host.settings_rules import read_networks

NO_MAIL = "E-mail needs NOTIFICATION_SMTP_HOST and NOTIFICATION_MAIL_FROM in worker.env."
PORTS = {"starttls": 587, "tls": 465, "none": 25}


def list_allowed_networks(config: Config) -> list[str]:
    """Return the private networks that may be sent to. Raises Refused `setting_invalid`."""
    return read_networks(config.environ, "NOTIFICATION_NETWORKS")


def list_own_ports(config: Config) -> list[int]:
    """Return the ports of the control plane on this host: no notification is sent to them."""
    return [config.api_port, config.worker_port, config.router_port, config.postgres_port]


def has_mail_server(config: Config) -> bool:
    """Return whether mail can be sent: both settings that have no default are set."""
    return bool(config.get("NOTIFICATION_SMTP_HOST") and config.get("NOTIFICATION_MAIL_FROM"))


def read_mail_server(config: Config) -> dict[str, Any]:
    """Return how mail is sent. Raises Refused `setting_invalid`, `secret_unreadable`."""
    if not has_mail_server(config):
        raise Refused("setting_invalid", NO_MAIL)
    security = config.get_choice("NOTIFICATION_SMTP_SECURITY")
    return {
        "host": config.get("NOTIFICATION_SMTP_HOST"),
        "port": config.get_integer("NOTIFICATION_SMTP_PORT", PORTS[security]),
        "security": security,
        "sender": config.get("NOTIFICATION_MAIL_FROM"),
        "user": config.get("NOTIFICATION_SMTP_USER"),
        "password": _read_password(config.get("NOTIFICATION_SMTP_PASSWORD_FILE")),
    }


def _read_password(path: str) -> str:
    return read_secret("NOTIFICATION_SMTP_PASSWORD_FILE", Path(path)) if path else ""
