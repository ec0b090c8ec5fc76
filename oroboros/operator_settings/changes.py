"""Changes of settings and of variables: checked, written, and put on the audit trail."""

from dataclasses import replace

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.audit.recording import record_request
from accounts.models import AuditEntry
from host.config import Config
from host.errors import Refused
from host.operator_settings import run_time, variable_files
from host.operator_settings.variable_files import VariableFile
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

    def record(before: str) -> None:
        _record(request, name, reason, _describe(before, value))

    with transaction.atomic():
        before = run_time.write_value(config, name, value, record=record)
    return f"You changed {name}: {_describe(before, value)}."


def change_variable(
    request: HttpRequest,
    file: VariableFile,
    name: str,
    value: str | None,
    reason: str,
    version: str = "",
) -> str:
    """Set a variable of applications, with None remove it. Returns what was done, without values.

    Raises Refused as `variable_files.check_reason` and `variable_files.write_variable`.
    """
    variable_files.check_reason(reason, value)

    def record(done: str) -> None:
        _record(request, f"{file.name} {name}", reason, done)

    with transaction.atomic():
        done, note = variable_files.write_variable(
            settings.OROBOROS, file, name, value, version=version, record=record
        )
    text = f"You {done} {name} in {file.name}."
    return f"{text} No process gets it: {note}" if note else text


def _describe(before: str, value: str) -> str:
    return f"{before or UNSET} → {value or UNSET}"


def _record(request: HttpRequest, target: str, reason: str, detail: str) -> None:
    record_request(
        request,
        AuditEntry.Kind.SETTING,
        actor=get_actor_name(request),
        target=target,
        reason=reason,
        detail=detail,
    )


def _check_push_mode(changed: Config) -> None:
    try:
        landing.check_settings(changed, is_pushed=push_mode(changed) == PushMode.AUTO)
    except Refused as refused:
        raise Refused(refused.code, refused.detail, status=400) from None


def list_changes(file: VariableFile | None = None) -> QuerySet[AuditEntry]:
    """Return the last changes of settings and variables, or of one file's, the newest first."""
    changes = AuditEntry.objects.filter(kind=AuditEntry.Kind.SETTING)
    if file is not None:
        changes = changes.filter(target__startswith=f"{file.name} ")
    return changes[:HISTORY]
