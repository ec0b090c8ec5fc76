"""Changes of settings at run time: checked, written, and put on the audit trail."""

from dataclasses import replace

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.audit.recording import record_request
from accounts.models import AuditEntry
from host.config import Config
from host.errors import Refused
from host.operator_settings import run_time
from runs import landing
from runs.repository import push_mode
from runs.rules import PushMode
from web.permissions import get_actor_name

HISTORY = 50
UNSET = "not set"


def change_setting(request: HttpRequest, name: str, value: str, reason: str) -> str:
    """Set a setting, with "" to nothing; it is in effect at once. Returns what was done.

    Raises Refused as `run_time.write_value`, and as `landing.check_settings` if runs could not
    ship with it.
    """
    config: Config = settings.OROBOROS
    run_time.check_change(config, name, value)
    if name == run_time.PUSH_MODE:
        _check_push_mode(
            replace(config, environ={**config.environ, name: value or PushMode.MANUAL})
        )
    before = run_time.write_value(config, name, value)
    detail = f"{before or UNSET} → {value or UNSET}"
    record_request(
        request,
        AuditEntry.Kind.SETTING,
        actor=get_actor_name(request),
        target=name,
        reason=reason,
        detail=detail,
    )
    return f"You changed {name}: {detail}."


def _check_push_mode(changed: Config) -> None:
    try:
        landing.check_settings(changed, is_pushed=push_mode(changed) == PushMode.AUTO)
    except Refused as refused:
        raise Refused(refused.code, refused.detail, status=400) from None


def list_changes() -> QuerySet[AuditEntry]:
    """Return the last changes of settings, the newest first."""
    return AuditEntry.objects.filter(kind=AuditEntry.Kind.SETTING)[:HISTORY]
