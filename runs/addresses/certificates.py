"""Which names may have a certificate: those of runs, and only so many new ones a day."""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings

from core.clock import get_database_time
from runs.addresses import rules
from runs.models import CertificateName


def may_request(name: str, is_label_known: Callable[[str, datetime], bool]) -> bool:
    """Return whether the router may request a certificate for the name, and note a new one."""
    config = settings.OROBOROS
    if rules.is_fixed_name(name, settings.DOMAIN, [slot.number for slot in config.slots]):
        return True
    label = rules.find_public_label(name, settings.DOMAIN)
    at = get_database_time()
    if label is None or not is_label_known(label, at):
        return False
    limit = config.get_integer("CERTIFICATE_NAMES_PER_DAY", rules.NAMES_PER_DAY)
    return _allow(label, limit, at)


def _allow(label: str, limit: int, at: datetime) -> bool:
    """Return whether the label was allowed before or is one of today's.

    Requests at the same moment may each add one, so a few more than `limit` are possible.
    """
    if CertificateName.objects.filter(label=label).exists():
        return True
    recent = CertificateName.objects.filter(allowed_at__gt=at - timedelta(days=1))
    if not rules.has_budget(recent.count(), limit):
        return False
    CertificateName.objects.get_or_create(label=label, defaults={"allowed_at": at})
    return True
