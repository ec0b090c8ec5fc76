"""How much disk space a run's files use, and whether that is more than PREVIEW_DISK_MB."""

import logging
from collections.abc import Callable, Sequence

from host.app.application import Application
from host.config import Config, SlotConfig
from host.deadline import Deadline
from host.disk import meter, space
from host.disk.space import Place
from host.process.users import User

QUOTA_MB = 10_240
CHECK_SECONDS = 5.0
METER_SECONDS = 60.0
# The unit has started and ended without an answer so often in a row: an application can have it.
UNANSWERED = 2
log = logging.getLogger(__name__)
_pauses: dict[str, Deadline] = {}
_unanswered: dict[str, int] = {}


def list_slot_places(config: Config, slot: SlotConfig) -> list[Place]:
    """Return where a slot's run has its files: the slot's folder, and the homes of its commands.

    With the homes count the files that processes of the slot's user have deleted and still use.
    """
    return [Place(slot.folder), *_list_homes(config, config.slot_user(slot))]


def list_places(app: Application) -> list[Place]:
    """Return where an application outside the slots has its files, also while it is installed."""
    config = app.config
    installs = [
        Place(install.folder(config, app.root)) for install in app.plan.installs if install.shared
    ]
    return [Place(app.root), *installs, *_list_homes(config, app.user, config.install_user)]


def _list_homes(config: Config, *users: User | None) -> list[Place]:
    """Return the folder of all commands' homes for each user, by whose files they are told apart.

    Without users of their own nothing says whose they are: then they do not count.
    """
    return [Place(config.var / "tmp", user.uid) for user in dict.fromkeys(users) if user]


def describe_excess(config: Config, subject: str, places: Sequence[Place]) -> str:
    """Return a sentence if the files in these places use more than the quota, else "".

    Also if they cannot be measured: otherwise an application that prevents it had no limit.
    """
    quota = config.get_integer("PREVIEW_DISK_MB", QUOTA_MB)
    found = _measure_mb(config, subject, places, quota)
    if found is None:
        return (
            f"{subject} has files whose disk space cannot be measured: ouroboros-disk@ ended"
            f" {UNANSWERED} times without an answer (see journalctl -u 'ouroboros-disk@*')."
            " Have the branch write fewer files."
        )
    if found <= quota:
        return ""
    return (
        f"{subject} uses more than {quota} MB of disk space (PREVIEW_DISK_MB): have the"
        " branch write less, or raise the limit."
    )


def _measure_mb(
    config: Config, subject: str, places: Sequence[Place], enough_mb: int
) -> int | None:
    """Return the space in MiB, counted to above `enough_mb`; None if it cannot be measured.

    Where this process may not look everywhere, as under systemd, a unit that may is asked, at most
    every METER_SECONDS for each subject; in between only what is seen counts.
    """
    found = space.measure(places, enough_mb)
    if found.is_complete or found.mb > enough_mb or not config.is_systemd:
        return found.mb
    pause = _pauses.get(subject)
    if pause is not None and not pause.has_passed:
        return found.mb
    _pauses[subject] = Deadline(METER_SECONDS)
    answer = meter.measure_all(places, enough_mb)
    if answer.mb is not None:
        _unanswered.pop(subject, None)
        return answer.mb
    if not answer.has_started:
        log.warning("%s is measured without its closed folders: install the units again", subject)
        return found.mb
    _unanswered[subject] = _unanswered.get(subject, 0) + 1
    log.warning("ouroboros-disk@ ended without an answer for %s", subject)
    if _unanswered[subject] < UNANSWERED:
        return found.mb
    del _unanswered[subject]
    return None


class DiskWatch:
    """Whether a command is to end: `stop` says so, or the files in `places` use too much space."""

    def __init__(
        self, config: Config, subject: str, places: Sequence[Place], stop: Callable[[], bool]
    ) -> None:
        self.config, self.subject, self.places, self.stop = config, subject, places, stop
        self.excess = ""
        self._pause = Deadline(CHECK_SECONDS)

    def __call__(self) -> bool:
        """Measure every CHECK_SECONDS; `excess` has the sentence afterwards."""
        if self._pause.has_passed:
            self.excess = self.excess or describe_excess(self.config, self.subject, self.places)
            self._pause = Deadline(CHECK_SECONDS)
        return bool(self.excess) or self.stop()
