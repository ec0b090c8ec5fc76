"""Merging through the forge instead of pushing (SHIP_THROUGH=pull-request), and its checks.

Where people may not push to the target branch, the forge merges the pull request, and makes a
commit of its own. It lands with the files of the verified candidate; the pipeline then takes it as
the candidate, so that what is verified, built and deployed is the commit that landed.
See docs/decisions/0032.
"""

from importlib import import_module
from typing import Protocol, cast

from django.conf import settings

from host.config import Config
from host.errors import Refused
from runs.models import Event, Run
from runs.rules import explain_awaited_checks

PULL_REQUEST = "pull-request"
LANDED = "landed"  # an event's kind; its data names the commit and the run's own


class Merger(Protocol):
    """The module of `settings.PULL_REQUEST_MERGER`; `runs` knows no forge."""

    def check(self, config: Config) -> None:
        """Raise Refused `setting_invalid` for settings with which nothing can be merged."""

    def find_merge(self, config: Config, run: Run) -> str:
        """Return the commit as which the forge merged the run's pull request; "" if it has not."""

    def merge(self, config: Config, run: Run) -> str:
        """Merge it at exactly the run's commit, and return the commit that landed.

        Raises Refused with the forge's words.
        """


def get_merger() -> Merger:
    """Return what merges pull requests."""
    return cast("Merger", import_module(settings.PULL_REQUEST_MERGER))


def is_through_forge(config: Config) -> bool:
    """Return whether runs land by a merge on the forge. Raises Refused `setting_invalid`."""
    return config.get_choice("SHIP_THROUGH") == PULL_REQUEST


def read_required_checks(config: Config) -> tuple[str, ...]:
    """Return the names of SHIP_REQUIRED_CHECKS: external checks without which nothing ships."""
    return config.get_names("SHIP_REQUIRED_CHECKS")


def describe_required_checks(config: Config) -> str:
    """Return what a run that was approved just now waits for; "" if for no check."""
    names = ", ".join(read_required_checks(config))
    return explain_awaited_checks("SHIP_REQUIRED_CHECKS", names) if names else ""


def check_settings(config: Config, *, is_pushed: bool) -> None:
    """Raise Refused `setting_invalid` if SHIP_THROUGH or the checks cannot be followed."""
    if read_required_checks(config):
        get_merger().check(config)
    if not is_through_forge(config):
        return
    if not is_pushed:
        detail = "SHIP_THROUGH=pull-request needs MERGE_GATE_GIT_PUSH_MODE=auto."
        raise Refused("setting_invalid", detail)
    get_merger().check(config)


def find_landed(run: Run) -> str:
    """Return the commit as which the forge merged the run's commit; "" if it has not.

    Also for a run that retries one of the same commit.
    """
    runs = [run, *run.list_ancestors()]
    same = [one.pk for one in runs if one.commit_sha == run.commit_sha]
    events = Event.objects.filter(run__in=same, kind=LANDED, data__head=run.commit_sha)
    event = events.order_by("-pk").first()
    return event.data["commit"] if event is not None else ""
