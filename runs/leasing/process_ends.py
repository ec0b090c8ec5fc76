"""Reports the ends of applications' processes and servers at once; their restarts may have to wait.

It probes nothing, so no preview that hangs delays it.
"""

from collections.abc import Iterable

from host.app.process_types.process_environment import WEB
from host.config import Config, SlotConfig
from host.errors import Refused
from host.units import managers
from host.units.stack_ports import REDIS_PREFIX
from host.units.unit import UnitStatus
from releases.processes import background
from releases.production import app_instance, colours
from runs.engine.events import RECONCILER, record_event
from runs.leasing.unit_ends import find_new_end
from runs.rules import Status
from slots.models import Lease
from slots.rules import LeaseState
from slots.runtime import backend, processes
from slots.runtime import spec as specs
from slots.runtime.processes import ProcessStatus


def report_ends(config: Config) -> None:
    """Record each end that was not recorded before, of previews, of production and of services."""
    manager = managers.get_manager(config)
    # One look at all units of the host; at rest there is no more to do.
    ended = set(manager.find_ended(manager.list_names()))
    leases = {str(lease.slot): lease for lease in list_supervised_leases(config)} if ended else {}
    for slot_id, lease in leases.items():
        _report_slot(config, config.slot(slot_id), lease, ended)
    _report_production(config, ended)
    for unit in sorted(ended):
        if unit.startswith(REDIS_PREFIX):
            _report(config, "service_ended", unit, leases.get(unit.removeprefix(REDIS_PREFIX)))


def report_ends_of_slot(config: Config, slot: SlotConfig, lease: Lease) -> None:
    """Record the ends of the processes of the run that holds the slot."""
    ended = managers.get_manager(config).find_ended(_list_units(config, slot))
    _report_slot(config, slot, lease, ended)


def report_ends_of_production(config: Config) -> None:
    """Record the ends of the live release's processes."""
    manager = managers.get_manager(config)
    _report_production(config, manager.find_ended(_list_units_of_production(config)))


def list_supervised_leases(config: Config) -> list[Lease]:
    """Return the leases of this host whose processes must run, with run and slot.

    The steps of a run that is being prepared start and stop its processes themselves.
    """
    slot_ids = [slot.slot_id for slot in config.slots]
    held = (
        Lease.objects.on_host(config.host_name)
        .filter(state=LeaseState.HELD, slot__slot_id__in=slot_ids, slot__quarantined_at=None)
        .exclude(run__status=Status.PREPARING)
    )
    return list(held.select_related("run", "slot"))


def describe_end(slot: SlotConfig, process: ProcessStatus) -> str:
    """Return a sentence about a process of the slot that has ended."""
    if process.name == WEB:
        return f"the backend of {slot.slot_id} is not running"
    return f"the process {process.name} of {slot.slot_id} is not running: it {process.failure}"


def _list_units(config: Config, slot: SlotConfig) -> list[str]:
    return [backend.unit_name(slot), *processes.list_units(config, slot)]


def _list_units_of_production(config: Config) -> list[str]:
    colour = colours.get_live_colour(config)
    servers = [] if colour is None else app_instance.list_units(config, colour)
    return [*servers, *background.list_units(config)]


def _report_slot(config: Config, slot: SlotConfig, lease: Lease, ended: Iterable[str]) -> None:
    for unit in sorted({*ended}.intersection(_list_units(config, slot))):
        with find_new_end(managers.get_manager(config), unit) as status:
            if status is not None:
                text = describe_end(slot, ProcessStatus(_find_name(slot, unit), status))
                _record("backend_down", text, lease)


def _find_name(slot: SlotConfig, unit: str) -> str:
    """Return the name of the process of that unit, WEB for the backend itself."""
    if unit == backend.unit_name(slot):
        return WEB
    try:
        named = {processes.unit_name(slot, one): one.name for one in specs.read(slot).processes}
    except Refused:  # an unreadable spec, which the reconciler reports
        named = {}
    return named.get(unit, unit)


def _report_production(config: Config, ended: Iterable[str]) -> None:
    for unit in sorted({*ended}.intersection(_list_units_of_production(config))):
        _report(config, "process_ended", unit, None)


def _report(config: Config, kind: str, unit: str, lease: Lease | None) -> None:
    with find_new_end(managers.get_manager(config), unit) as status:
        if status is not None:
            _record(kind, _describe_unit(unit, status), lease)


def _describe_unit(unit: str, status: UnitStatus) -> str:
    if status.is_active:
        return f"{unit} had ended; systemd started it again (restart {status.restarts})"
    return f"{unit} {status.failure}"


def _record(kind: str, text: str, lease: Lease | None) -> None:
    run, slot_id = (lease.run, str(lease.slot)) if lease is not None else (None, "")
    record_event(kind, text, actor=RECONCILER, run=run, slot_id=slot_id)
