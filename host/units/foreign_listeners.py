"""Application processes that listen on a port of the stack which is not their own.

A port is free on each address of each family, so a preview could listen on `[::1]:8111` or
`127.0.0.2:3100` although another process has the port of 127.0.0.1. Applications are known by
their users, which they have only where this process is root or under systemd. There the units are
kept from binding such a port (SocketBindDeny), but not by a kernel without BPF for cgroups (v2).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from host.config import Config, SlotConfig
from host.process import process_table, socket_owner, termination
from host.process.process_id import ProcessId
from host.process.socket_owner import Socket
from host.process.termination import MARK_VARIABLE
from host.units.listeners import describe_holder, describe_socket
from host.units.stack_ports import (
    APP_PREFIX,
    PREVIEW_PREFIX,
    REDIS_PREFIX,
    list_ports,
    process_prefix,
)
from host.units.systemd_manager import SystemdManager
from host.units.unit import stop_together


@dataclass(frozen=True)
class PortRules:
    """Who may listen where: `allowed` has the uids of applications for each port of the stack.

    Any other uid than those in `applications` is left alone.
    """

    allowed: Mapping[int, frozenset[int]]
    applications: frozenset[int]


def build_rules(config: Config) -> PortRules:
    """Return the rules of this checkout; no uid is an application's where we are not root."""
    slots = {slot.slot_id: config.slot_user(slot) for slot in config.slots}
    allowed = {}
    for _, port, unit in list_ports(config):
        user = config.app_user if unit.startswith(APP_PREFIX) else None
        if unit.startswith(PREVIEW_PREFIX):
            # The name of a server's unit has the place of its port after a dot.
            user = slots[unit.removeprefix(PREVIEW_PREFIX).partition(".")[0]]
        if unit.startswith(REDIS_PREFIX):
            user = config.redis_user(unit.removeprefix(REDIS_PREFIX))
        allowed[port] = frozenset() if user is None else frozenset({user.uid})
    return PortRules(allowed, config.application_uids)


def select_foreign(listeners: Iterable[Socket], rules: PortRules) -> list[Socket]:
    """Return the listeners of applications on ports of the stack that are not their own.

    Whatever the address and its family: all interfaces, both loopbacks and every other one.
    """
    return [
        one
        for one in listeners
        if one.uid in rules.applications
        and one.port in rules.allowed
        and one.uid not in rules.allowed[one.port]
    ]


@dataclass(frozen=True)
class ForeignListeners:
    """What one user's processes did, as a sentence; `slot_id` is "" for jobs and production."""

    text: str
    slot_id: str
    is_ended: bool


def end_foreign_listeners(config: Config, *, dry_run: bool = False) -> list[ForeignListeners]:
    """End applications' processes that listen on our ports.

    Root can, and under systemd a slot's units are stopped; otherwise they are only reported.
    """
    rules = build_rules(config)
    if not rules.applications:
        return []
    found = select_foreign(socket_owner.list_listeners(), rules)
    return _end_all(config, found, dry_run=dry_run)


def clear_port(config: Config, port: int | None) -> None:
    """End every application's process that listens on a port whose unit is about to start.

    Also its own user's: nothing of the unit runs now, so it is a process that an earlier one left.
    Only root can.
    """
    if port is None or not config.is_root:
        return
    listeners = socket_owner.list_listeners(port)
    if not listeners:
        return
    found = [one for one in listeners if one.uid in config.application_uids]
    for foreign in _end_all(config, found):
        import logging  # Only here: the command that restarts a backend starts sooner without.

        logging.getLogger(__name__).warning("%s", foreign.text)


def _end_all(
    config: Config, found: Sequence[Socket], *, dry_run: bool = False
) -> list[ForeignListeners]:
    """Return one entry for each user: a process can listen on any number of addresses."""
    slots = {
        user.uid: slot for slot in config.slots if (user := config.slot_user(slot)) is not None
    }
    entries = []
    for uid in sorted({one.uid for one in found}):
        mine = [one for one in found if one.uid == uid]
        text, slot = _describe(mine), slots.get(uid)
        is_ended = not dry_run and _end(config, uid, mine, slot)
        if is_ended:
            text = f"{text}: ended"
        entries.append(ForeignListeners(text, "" if slot is None else slot.slot_id, is_ended))
    return entries


def _describe(listeners: Sequence[Socket]) -> str:
    first = listeners[0]
    others = f" and {len(listeners) - 1} more addresses" if len(listeners) > 1 else ""
    return (
        f"{describe_holder(first)} listened on {describe_socket(first)}{others},"
        " which is a port of Oroboros and not its own"
    )


def _end(config: Config, uid: int, listeners: Sequence[Socket], slot: SlotConfig | None) -> bool:
    """End the processes; returns whether this process may, and did."""
    if config.is_systemd:
        return slot is not None and _stop_units(config, slot)
    if not config.is_root:
        return False
    if slot is not None:
        # Or a parent of it, which has left every family, would start it again.
        return termination.kill_user(uid)
    for pid in socket_owner.find_holders(*(one.inode for one in listeners)):
        _kill_family(pid)
    return True


def _stop_units(config: Config, slot: SlotConfig) -> bool:
    """Stop all units that run as the slot's user; returns whether they have ended.

    All, because any of them may have passed its listener to another (SCM_RIGHTS). The supervisor
    starts what the run needs, and fails the run whose processes are ended again and again.
    """
    manager, backend = SystemdManager(config), f"{PREVIEW_PREFIX}{slot.slot_id}"
    others = (process_prefix(slot.slot_id), f"{backend}.")
    names = [name for name in manager.list_names() if name.startswith(others)]
    has_ended = stop_together(manager, [backend, *names])
    user = config.slot_user(slot)
    return has_ended and (user is None or user.kill_all())


def _kill_family(pid: int) -> None:
    entry = process_table.find_process(pid)
    if entry is not None:
        mark = process_table.read_variable(pid, MARK_VARIABLE) or ""
        process_id = ProcessId(pid, entry.start_time, mark)
        termination.kill_family(process_id, {entry}, is_pid_ours=True)
