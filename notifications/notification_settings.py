"""The settings of notifications: networks, and the mail server."""

from pathlib import Path
from typing import Any

from host.config import Config
from host.errors import Refused
from host.masking.secret_file import read_secret
from host.settings_rules import read_networks

PORTS = {"starttls": 587, "tls": 465, "none": 25}


def list_allowed_networks(config: Config) -> list[str]:
    """Return the private networks that may be sent to. Raises Refused `setting_invalid`."""
    return read_networks(config.environ, "NOTIFICATION_NETWORKS")


def list_own_ports(config: Config) -> list[int]:
    """Return the ports of the control plane on this host: no notification is sent to them."""
    return [config.api_port, config.worker_port, config.router_port, config.postgres_port]


def has_mail_server(config: Config) -> bool:
    return bool(config.get("NOTIFICATION_SMTP_HOST"))


def read_mail_server(config: Config) -> dict[str, Any]:
    """Return how mail is sent. Raises Refused `setting_invalid`, `secret_unreadable`."""
    host, sender = config.get("NOTIFICATION_SMTP_HOST"), config.get("NOTIFICATION_MAIL_FROM")
    if not host or not sender:
        detail = "E-mail needs NOTIFICATION_SMTP_HOST and NOTIFICATION_MAIL_FROM in worker.env."
        raise Refused("setting_invalid", detail)
    security = config.get_choice("NOTIFICATION_SMTP_SECURITY")
    return {
        "host": host,
        "port": config.get_integer("NOTIFICATION_SMTP_PORT", PORTS[security]),
        "security": security,
        "sender": sender,
        "user": config.get("NOTIFICATION_SMTP_USER"),
        "password": _read_password(config.get("NOTIFICATION_SMTP_PASSWORD_FILE")),
    }


def _read_password(path: str) -> str:
    return read_secret("NOTIFICATION_SMTP_PASSWORD_FILE", Path(path)) if path else ""
