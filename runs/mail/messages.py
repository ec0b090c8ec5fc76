"""The messages that the sink received: kept as artifacts of the run, bounded in size and number."""

from collections.abc import Sequence
from email.utils import formatdate

from django.conf import settings
from django.db.models import QuerySet

from host.config import Config, SlotConfig
from host.errors import Refused
from host.masking.known_secrets import read_masks
from runs.engine.artifacts import artifacts_folder, open_artifact, write_artifact
from runs.engine.events import WORKER, record_event
from runs.mail import parsing
from runs.mail.parsing import Mail
from runs.models import Artifact, Event, Run
from slots.models import Lease
from slots.rules import LeaseState

PREFIX = "mail_"
MAX_MESSAGES = 200  # of one commit of a run
MAX_BYTES = 50 * 1024 * 1024
LIMIT = f"the first {MAX_MESSAGES} messages and {MAX_BYTES >> 20} MB"
LIMIT_EVENT = "mail_limit"
HEAD_BYTES = 16 * 1024


def keep_message(
    config: Config, slot: SlotConfig, sender: str, recipients: Sequence[str], raw: bytes
) -> None:
    """Keep a message for the run that holds the slot. One above the limits is not kept: an event.

    Without such a run it is discarded. Raises OSError if it cannot be written.
    """
    held = Lease.objects.on_host(config.host_name).filter(
        state=LeaseState.HELD, slot__slot_id=slot.slot_id
    )
    lease = held.select_related("run").first()
    if lease is None:
        return
    run = lease.run
    kept = list_messages(run).filter(generation=run.generation)
    size = sum(_measure(config, message) for message in kept)
    if len(kept) >= MAX_MESSAGES or size + len(raw) > MAX_BYTES:
        _report_limit(run)
        return
    name = f"{PREFIX}{len(kept) + 1:04}"
    write_artifact(config, run, name, build_envelope(sender, recipients) + raw)


def build_envelope(sender: str, recipients: Sequence[str]) -> bytes:
    """Return the header fields with which mail servers keep the envelope.

    The recipients of a `Bcc` are in no field of the message. Source: RFC 5321, 4.4.
    """
    fields = [("Return-Path", f"<{sender}>"), *(("Delivered-To", one) for one in recipients)]
    fields.append(("Received", f"from preview by oroboros; {formatdate()}"))
    lines = (f"{name}: {' '.join(value.split())}\r\n" for name, value in fields)
    return "".join(lines).encode("utf-8", "replace")


def list_messages(run: Run) -> QuerySet[Artifact]:
    """Return the artifacts that are the run's messages, oldest first."""
    return run.artifacts.filter(name__startswith=PREFIX).order_by("pk")


def count_messages(run: Run) -> int:
    """Return how many messages of the run's present commit are kept."""
    return list_messages(run).filter(generation=run.generation).count()


def has_exceeded_limit(run: Run) -> bool:
    """Return whether a message of the run was not kept."""
    return Event.objects.filter(run=run, kind=LIMIT_EVENT).exists()


def read_mail(artifact: Artifact) -> Mail:
    """Return the whole message, secrets masked. Raises Refused `mail_gone` (404)."""
    return parsing.parse_mail(_read(artifact, MAX_BYTES))


def read_head(artifact: Artifact) -> Mail:
    """Return the message without its parts. Raises Refused as `read_mail`."""
    return parsing.parse_head(_read(artifact, HEAD_BYTES))


def _read(artifact: Artifact, limit: int) -> bytes:
    config = settings.OROBOROS
    try:
        with open_artifact(config, artifact) as file:
            return read_masks(config).cover_bytes(file.read(limit))
    except (Refused, OSError):
        raise Refused("mail_gone", "The message's file is gone.", status=404) from None


def _measure(config: Config, artifact: Artifact) -> int:
    try:
        return (artifacts_folder(config) / artifact.path).stat().st_size
    except FileNotFoundError:
        return 0


def _report_limit(run: Run) -> None:
    if not has_exceeded_limit(run):
        text = f"The preview sent more mail than is kept: {LIMIT} are on the run's page."
        record_event(LIMIT_EVENT, text, actor=WORKER, run=run)
