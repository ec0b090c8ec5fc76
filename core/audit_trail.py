"""Appends to the audit trail, also in commands that load no app but `releases`."""

import logging
from contextlib import nullcontext
from dataclasses import astuple, dataclass

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from host.masking.known_secrets import read_masks

log = logging.getLogger(__name__)
SHELL = "shell"  # the address of who uses a shell on the host
# The table is that of `accounts.models.AuditEntry`. Cut here, or PostgreSQL would refuse it.
INSERT = (
    "INSERT INTO accounts_auditentry (at, kind, actor, address, agent, target, reason, detail)"
    " VALUES (clock_timestamp(), %s, left(%s, 150), left(%s, 50), left(%s, 200), left(%s, 300),"
    " %s, left(%s, 300))"
)


@dataclass(frozen=True)
class Entry:
    """What happened: `target` is what it is about, `agent` the client's program."""

    kind: str
    actor: str
    address: str = SHELL
    agent: str = ""
    target: str = ""
    reason: str = ""
    detail: str = ""


def append_entry(entry: Entry) -> None:
    """Append an entry at the database's time; secrets are masked.

    A failure is logged with the entry, and does not undo what was done.
    """
    masks = read_masks(settings.OROBOROS)
    # PostgreSQL refuses NUL.
    values = [masks.mask(value.replace("\0", "")) for value in astuple(entry)]
    # Within a transaction a failure must not end that. Alone, the statement needs no BEGIN and
    # COMMIT, which are two more round trips of each request that changes something.
    guard = transaction.atomic() if connection.in_atomic_block else nullcontext()
    try:
        with guard, connection.cursor() as cursor:
            cursor.execute(INSERT, values)
    except DatabaseError as error:
        log.error("the audit trail was not written: %s: %s", error, values)
