"""Application processes that take ports which others need.

They listen on a port of the stack which is not their own, or only bind it, which keeps others from
it just as well (bind(2)). Or they use up the host's local ports.

A port is free on each address of each family, so a preview could listen on `[::1]:8111` or
`127.0.0.2:3100` although another process has the port of 127.0.0.1. Applications are known by
their users, which they have only where this process is root or under systemd. There the units are
kept from binding such a port (SocketBindDeny), but not by a kernel without BPF for cgroups (v2).
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from host.config import Config, SlotConfig
from host.deadline import Deadline
from host.process import process_table, socket_owner, termination
from host.process.process_table import ProcessEntry
from host.process.socket_owner import Socket
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

# States of a socket that listens, or that was only bound, which the kernel reports as closed.
UNCONNECTED = (socket_owner.LISTEN, socket_owner.CLOSE)
PAUSE_SECONDS = 5.0
_pauses: dict[Path, Deadline] = {}
# The inodes of sockets that no process of the user that made them has any more, by `var`.
_survivors: dict[Path, set[int]] = {}


@dataclass(frozen=True)
class PortRules:
    """Who may listen where: `allowed` has the uids of applications for each port of the stack.

    Any other uid than those in `applications` is left alone. A connection may be from any of the
    `local_ports`, which the kernel chose for it.
    """

    allowed: Mapping[int, frozenset[int]]
    applications: frozenset[int]
    local_ports: range = range(0)


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
    return PortRules(allowed, config.application_uids, socket_owner.read_local_ports())


def select_foreign(sockets: Iterable[Socket], rules: PortRules) -> list[Socket]:
    """Return the sockets of applications that have ports of the stack that are not their own.

    Whatever the address and its family: all interfaces, both loopbacks and every other one.
    """
    return [
        one
        for one in sockets
        if one.uid in rules.applications
        and one.port in rules.allowed
        and one.uid not in rules.allowed[one.port]
        and (one.state in UNCONNECTED or one.port not in rules.local_ports)
    ]


def select_in_the_way(sockets: Iterable[Socket], port: int, rules: PortRules) -> list[Socket]:
    """Return the sockets of applications that keep the port from its unit, which does not run.

    A connection counts only if it is of the unit's own user and its port is not the kernel's
    choice: another user's, such as production's to a database, is not ended for it.
    """
    own = rules.allowed.get(port, frozenset())
    return [
        one
        for one in sockets
        if one.port == port
        and one.uid in rules.applications
        and (one.state in UNCONNECTED or (one.uid in own and port not in rules.local_ports))
    ]


def select_excessive_users(held: Mapping[int, int], enough: int) -> list[int]:
    """Return the uids that hold the most ports, so many that the others hold `enough` at most."""
    uids = sorted(held, key=lambda uid: (-held[uid], uid))
    total = sum(held.values())
    chosen: list[int] = []
    while total > enough:
        chosen.append(uids[len(chosen)])
        total -= held[chosen[-1]]
    return chosen


@dataclass(frozen=True)
class ForeignListeners:
    """What one user's processes did, as a sentence; `slot_id` is "" for jobs and production."""

    text: str
    slot_id: str
    is_ended: bool


def end_foreign_listeners(
    config: Config, *, dry_run: bool = False, is_quick: bool = False
) -> list[ForeignListeners]:
    """End applications' processes that listen on our ports, or hold one otherwise.

    Root can, and under systemd a slot's units are stopped; otherwise they are only reported.
    `is_quick`: only those that listen, since the kernel takes ten times as long to find the others.
    """
    if not config.application_uids:
        return []
    sockets = socket_owner.list_listeners() if is_quick else socket_owner.list_open_sockets()
    return _end_all(config, select_foreign(sockets, build_rules(config)), dry_run=dry_run)


def end_port_exhaustion(config: Config) -> list[ForeignListeners]:
    """End the applications' processes that leave the host too few local ports, as root or systemd.

    A program that connects needs a local port which no process has bound, on any address. Above
    half of them the users that hold the most are ended. Production is left: what it runs was
    approved, and it may have thousands of connections. Where others than applications have so many
    sockets, as a busy server of this host may, it is looked again only after PAUSE_SECONDS.
    """
    pause = _pauses.get(config.var)
    if pause is not None and not pause.has_passed:
        return []
    app = config.app_user
    uids = config.application_uids - ({app.uid} if app is not None else set())
    if not uids:
        return []
    enough = len(socket_owner.read_local_ports()) // 2
    counts = socket_owner.count_sockets()
    many = [protocol for protocol, number in counts.items() if number > enough]
    ended = [one for protocol in many for one in _end_exhaustion(config, uids, protocol, enough)]
    if many and not any(one.is_ended for one in ended):
        _pauses[config.var] = Deadline(PAUSE_SECONDS)
    return ended


def _end_exhaustion(
    config: Config, uids: frozenset[int], protocol: str, enough: int
) -> list[ForeignListeners]:
    inodes = _find_excessive_sockets(uids, protocol, enough)
    slots = _map_slots(config)
    entries = []
    for uid, held in inodes.items():
        slot = slots.get(uid)
        subject = f"uid {uid}" if slot is None else slot.slot_id
        text = (
            f"Processes of {subject} held so many local {protocol} ports that others of the host"
            f" could not connect (with other applications more than {enough})"
        )
        is_ended = _end(config, uid, held, slot, is_urgent=True)
        text = f"{text}: ended" if is_ended else text
        entries.append(ForeignListeners(text, "" if slot is None else slot.slot_id, is_ended))
    return entries


def _find_excessive_sockets(
    uids: frozenset[int], protocol: str, enough: int
) -> dict[int, set[int]]:
    """Return the inodes of the sockets of each user that holds too many ports, by uid."""
    local = socket_owner.read_local_ports()
    is_tcp = protocol == socket_owner.TCP
    every = socket_owner.list_open_sockets() if is_tcp else socket_owner.list_udp_sockets()
    # Connections too: one that was bound to its port first keeps it from all others, and the
    # kernel does not say which were.
    mine = [one for one in every if one.uid in uids and one.port in local]
    ports = {uid: {one.port for one in mine if one.uid == uid} for uid in uids}
    chosen = select_excessive_users({uid: len(held) for uid, held in ports.items()}, enough)
    listed = {uid: {one.inode for one in mine if one.uid == uid} for uid in uids}
    if chosen or not is_tcp or any(one.state == socket_owner.CLOSE for one in every):
        return {uid: listed[uid] for uid in chosen}
    # A kernel that does not report sockets which are only bound: by the processes' descriptors,
    # which only root can read, without the sockets that the kernel does report.
    others = [*every, *socket_owner.list_udp_sockets()]
    known = {one.inode for one in others} | socket_owner.list_unix_inodes()
    processes = {uid: process_table.list_processes_of(uid) for uid in uids}
    bound = {
        uid: socket_owner.list_inodes(entry.pid for entry in entries) - known
        for uid, entries in processes.items()
    }
    chosen = select_excessive_users(
        {uid: len(ports[uid]) + len(bound[uid]) for uid in uids}, enough
    )
    return {uid: listed[uid] | bound[uid] for uid in chosen}


def clear_port(config: Config, port: int | None) -> None:
    """End every application's process that holds a port whose unit is about to start.

    Also its own user's: nothing of the unit runs now, so it is a process that an earlier one left.
    Only root can.
    """
    if port is None or not config.is_root:
        return
    sockets = [one for one in socket_owner.list_open_sockets() if one.port == port]
    if not any(one.uid in config.application_uids for one in sockets):
        return  # the rules take longer, and a backend starts after each change
    for foreign in _end_all(config, select_in_the_way(sockets, port, build_rules(config))):
        import logging  # Only here: the command that restarts a backend starts sooner without.

        logging.getLogger(__name__).warning("%s", foreign.text)


def _end_all(
    config: Config, found: Sequence[Socket], *, dry_run: bool = False
) -> list[ForeignListeners]:
    """Return one entry for each user: a process can listen on any number of addresses."""
    slots = _map_slots(config)
    entries = []
    for uid in sorted({one.uid for one in found}):
        mine = [one for one in found if one.uid == uid]
        text, slot = _describe(mine), slots.get(uid)
        is_ended = not dry_run and _end(config, uid, {one.inode for one in mine}, slot)
        if is_ended:
            text = f"{text}: ended"
        entries.append(ForeignListeners(text, "" if slot is None else slot.slot_id, is_ended))
    return entries


def _map_slots(config: Config) -> dict[int, SlotConfig]:
    """Return the slots by the uids of their users."""
    return {user.uid: slot for slot in config.slots if (user := config.slot_user(slot)) is not None}


def _describe(sockets: Sequence[Socket]) -> str:
    first = sockets[0]
    others = f" and {len(sockets) - 1} more addresses" if len(sockets) > 1 else ""
    did = "listened on" if first.state == socket_owner.LISTEN else "had bound"
    return (
        f"{describe_holder(first)} {did} {describe_socket(first)}{others},"
        " which is a port of Oroboros and not its own"
    )


def _end(
    config: Config,
    uid: int,
    inodes: AbstractSet[int],
    slot: SlotConfig | None,
    *,
    is_urgent: bool = False,
) -> bool:
    """End the processes that have these sockets; returns whether that freed their ports.

    `is_urgent`: under systemd, where nothing says which job has them, all jobs of the user.
    """
    if config.is_root and not config.is_systemd:
        has_ended = _end_as_root(config, uid, inodes)
        return has_ended and inodes.isdisjoint(_list_open_inodes())
    # Who has a socket that outlived its user's processes is not seen here: its slot is left alone.
    if not config.is_systemd or inodes <= _survivors.get(config.var, set()):
        return False
    if slot is None:
        return is_urgent and _kill_jobs(config, uid)
    return _stop_units(config, slot) and not _keep_survivors(config, inodes)


def _end_as_root(config: Config, uid: int, inodes: AbstractSet[int]) -> bool:
    """End the holders among the user's processes, then those of other users of applications.

    The latter received the socket (SCM_RIGHTS, unix(7)). Production is left, since anyone may have
    passed it one. Returns whether any was ended.
    """
    is_any = _end_holders(config, [uid], inodes)
    left = inodes & _list_open_inodes()
    pids = socket_owner.find_holders(*left) if left else []
    if pids:
        production = config.app_user
        users = {one for pid in pids for one in process_table.read_uids(pid)} - {uid}
        users &= config.application_uids - ({production.uid} if production else set())
        return _end_holders(config, sorted(users), left) or is_any
    if not left or left <= _survivors.get(config.var, set()):
        return is_any
    # It is in a message that was not received. If it outlives all processes of its user, none of
    # them had sent it to itself, and those that start later, as of another run, are innocent.
    is_any = bool(process_table.list_processes_of(uid)) or is_any
    if termination.kill_user(uid):
        _keep_survivors(config, left)
    return is_any


def _end_holders(config: Config, uids: Iterable[int], inodes: AbstractSet[int]) -> bool:
    """End those users' processes that have these sockets; returns whether there were any.

    All of a slot's: or a parent, which has left every family, would start it again.
    """
    slots = _map_slots(config)
    held = {uid: found for uid in uids if (found := _find_holders(uid, inodes))}
    for uid, holders in held.items():
        if uid in slots:
            termination.kill_user(uid)
        else:
            termination.kill_families(uid, holders)
    return bool(held)


def _list_open_inodes() -> set[int]:
    sockets = [*socket_owner.list_open_sockets(), *socket_owner.list_udp_sockets()]
    return {one.inode for one in sockets}


def _keep_survivors(config: Config, inodes: AbstractSet[int]) -> AbstractSet[int]:
    """Note and return those of the sockets that outlived all processes of their user."""
    current = _list_open_inodes()
    left = inodes & current
    _survivors[config.var] = (_survivors.get(config.var, set()) & current) | left
    return left


def _find_holders(uid: int, inodes: AbstractSet[int]) -> list[ProcessEntry]:
    """Return the processes of that user that have one of these sockets open.

    Never another user's, such as a daemon's of this host to which it was passed (SCM_RIGHTS).
    """
    return [
        entry
        for entry in process_table.list_processes_of(uid)
        if not socket_owner.list_inodes([entry.pid]).isdisjoint(inodes)
    ]


def _kill_jobs(config: Config, uid: int) -> bool:
    users = [user for user in config.application_users if user.uid == uid]
    return bool(users) and users[0].kill_all()


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
