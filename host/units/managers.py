"""The choice between the two managers of units."""

from host.config import Config
from host.units.local_manager import LocalManager
from host.units.systemd_manager import SystemdManager
from host.units.unit import UnitManager


def get_manager(config: Config) -> UnitManager:
    """Return this checkout's manager: systemd's only where its units are installed for it."""
    return SystemdManager(config) if config.is_systemd else LocalManager(config)
