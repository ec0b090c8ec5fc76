"""The names and ports of this host's slots."""

from dataclasses import dataclass
from pathlib import Path

from host.settings_rules import MAX_SERVERS, MAX_SLOTS

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
