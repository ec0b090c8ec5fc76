"""The names, ports and addresses of this host's slots and of the control plane."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from host.settings_rules import MAX_SERVERS, MAX_SLOTS, read_boolean, read_choice

HTTP_PORT, HTTPS_PORT = 80, 443  # without an offset
# Entries of a slot's folder that only a run makes.
RUN_ENTRIES = ("worktree", "environment.json", "home")


@dataclass(frozen=True)
class SlotConfig:
    """A slot's fixed names on this host."""

    slot_id: str
    number: int
    web_port: int
    backend_port: int
    database: str
    folder: Path
    mail_port: int
    redis_port: int
    server_ports: tuple[int, ...]  # of its processes with a port beside `web`


def list_slots(count: int, var: Path, offset: int) -> tuple[SlotConfig, ...]:
    """Return the slots up to the number `count`, and those above it that have files of a run.

    `offset` moves the ports.
    """
    above = (_slot(number, var, offset) for number in range(count + 1, MAX_SLOTS + 1))
    used = [slot for slot in above if any((slot.folder / name).exists() for name in RUN_ENTRIES)]
    return (*(_slot(number, var, offset) for number in range(1, count + 1)), *used)


def _slot(number: int, var: Path, offset: int) -> SlotConfig:
    return SlotConfig(
        slot_id=f"preview-{number}",
        number=number,
        web_port=3100 + number + offset,
        backend_port=8100 + number + offset,
        database=f"app_preview_{number}",
        folder=var / "slots" / f"preview-{number}",
        mail_port=8300 + number + offset,
        redis_port=8400 + number + offset,
        server_ports=list_server_ports(number, offset),
    )


def list_server_ports(number: int, offset: int) -> tuple[int, ...]:
    """Return the ports of the servers beside `web` of the slot with that number.

    Production's instances have those of numbers above the slots'.
    """
    return tuple(8500 + 100 * index + number + offset for index in range(MAX_SERVERS))


def list_instance_ports(offset: int) -> dict[str, tuple[int, ...]]:
    """Return the ports of the servers beside `web` of each instance of production."""
    names = ("blue", "green", "gate")
    return {
        name: list_server_ports(MAX_SLOTS + place, offset)
        for place, name in enumerate(names, start=1)
    }


class Addresses:
    """What `host.config.Config` says of host names and URLs."""

    domain: str
    slots: tuple[SlotConfig, ...]
    router_port: int
    http_port: int
    https_port: int
    environ: Mapping[str, str]

    @property
    def is_public(self) -> bool:
        """Whether the router serves the domain's names on `http_port` and `https_port`."""
        return read_boolean(self.environ, "OROBOROS_PUBLIC")

    @property
    def is_https(self) -> bool:
        """Whether visitors use https: of the router, or of a proxy in front of us."""
        return self.is_public or read_boolean(self.environ, "OROBOROS_HTTPS")

    @property
    def https_suffix(self) -> str:
        """What follows the host name in an https address: the port, if an offset moved it."""
        is_moved = self.is_public and self.https_port != HTTPS_PORT
        return f":{self.https_port}" if is_moved else ""

    @property
    def is_protected(self) -> bool:
        """Whether the router shows previews only to those who may look: PREVIEW_PROTECTION.

        By default where visitors come over https, from beyond this host.
        """
        if not self.environ.get("PREVIEW_PROTECTION"):
            return self.is_https
        return read_choice(self.environ, "PREVIEW_PROTECTION") == "protected"

    def preview_origin(self, host: str) -> str:
        """Return the address of a preview's host name at the router."""
        if self.is_https:
            return f"https://{host}{self.https_suffix}"
        return f"http://{host}:{self.router_port}"

    def shared_host(self, slot: SlotConfig) -> str:
        """Return the host name that all runs of the slot share: for probes, never for people."""
        return f"preview{slot.number}.{self.domain if self.is_https else 'localhost'}"

    def frontend_host(self, slot: SlotConfig, label: str) -> str:
        """Return the host name of the run with that label while it holds the slot.

        What a browser keeps for a host (service workers, caches, cookies, storage) so stays with
        the run's branch, and is not the admin's: cookies ignore ports.
        """
        if self.is_https:
            return f"{label}.preview.{self.domain}"
        if self.is_protected:
            return f"{label}.preview.localhost"
        return f"{label}.{self.shared_host(slot)}"

    def frontend_address(self, slot: SlotConfig, label: str | None) -> str:
        """Return the Host header of the run's visitors, without a label that of the shared name."""
        if label is None:
            host, port = self.shared_host(slot), slot.web_port
        else:
            host = self.frontend_host(slot, label)
            # The direct port shows it to everyone on this host.
            port = self.router_port if self.is_protected else slot.web_port
        return f"{host}{self.https_suffix}" if self.is_https else f"{host}:{port}"

    @property
    def admin_url(self) -> str:
        """The admin's address for people, through the router. The API's port is for the shell."""
        if self.is_https:
            return f"https://api.{self.domain}{self.https_suffix}/admin/"
        return f"http://api.localhost:{self.router_port}/admin/"

    def frontend_url(self, slot: SlotConfig, label: str) -> str:
        """Return the address of the frontend of the run with that label."""
        return f"{'https' if self.is_https else 'http'}://{self.frontend_address(slot, label)}"

    def backend_url(self, slot: SlotConfig, label: str) -> str:
        """Return the address of that run's backend: its own port, or /api of its surface."""
        if self.is_https or self.is_protected:
            return f"{self.frontend_url(slot, label)}/api"
        return f"http://{self.frontend_host(slot, label)}:{slot.backend_port}"

    def list_preview_sources(self) -> list[str]:
        """Return the previews' frontends as sources of a Content-Security-Policy."""
        return list(dict.fromkeys(self.frontend_url(slot, "*") for slot in self.slots))
