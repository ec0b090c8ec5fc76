"""Puts what requests and the forge's people did on the audit trail."""

from django.core.cache import cache
from django.http import HttpRequest

from accounts.peers import get_client_address
from core.audit_trail import Entry, append_entry

# Of refusals and failed logins from one address: a client that sends more must not fill the table.
# Each process of the API counts its own.
REPEATED_PER_MINUTE = 30
REPEATED = ("refused", "sign_in_failed")


def record_request(
    request: HttpRequest,
    kind: str,
    *,
    actor: str,
    target: str = "",
    reason: str = "",
    detail: str = "",
) -> None:
    """Append an entry with the request's address and program.

    `kind` is one of `AuditEntry.Kind`, `target` what it is about.
    """
    address = get_client_address(request.META)
    agent = request.META.get("HTTP_USER_AGENT", "")
    record(Entry(kind, actor, address, agent, target, reason, detail))


def record(entry: Entry) -> None:
    """Append the entry, unless its address had too many of a repeated kind within a minute."""
    if entry.kind in REPEATED and not _may_record_again(f"audit:{entry.kind}:{entry.address}"):
        return
    append_entry(entry)


def _may_record_again(key: str) -> bool:
    cache.add(key, 0, timeout=60)
    try:
        return cache.incr(key) <= REPEATED_PER_MINUTE
    except ValueError:  # it ended in between
        return True
