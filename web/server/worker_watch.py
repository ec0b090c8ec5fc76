"""A thread of the API that starts the worker again if it died, where systemd does not."""

import logging
import threading
import time

from host.config import Config
from host.errors import Refused
from host.units import control_units

log = logging.getLogger(__name__)
SECONDS = 2.0


def start_watch(config: Config) -> None:
    """Watch the worker for as long as this process runs; the worker watches the API."""
    if not config.is_systemd:
        threading.Thread(target=_watch, args=(config,), daemon=True).start()


def _watch(config: Config) -> None:
    while True:
        time.sleep(SECONDS)
        try:
            if control_units.start_if_dead(config, control_units.WORKER):
                log.warning("the worker had died: started again")
        except (OSError, Refused):
            log.exception("the worker died and does not start; this is tried again")
