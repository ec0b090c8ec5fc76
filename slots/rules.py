"""What leases and slots may do: values in, values out."""

from django.db.models import TextChoices


class LeaseState(TextChoices):
    """Where a lease is on its way; it never goes back."""

    WAITING = "waiting"
    HELD = "held"
    ENDING = "ending"
    ENDED = "ended"


# A tuple: a set has no order, and so would the constraint's migration.
ON_SLOT = (LeaseState.HELD, LeaseState.ENDING)
OPEN = (LeaseState.WAITING, LeaseState.HELD, LeaseState.ENDING)


class SlotState(TextChoices):
    """What a slot is to somebody who wants one."""

    FREE = "free"
    LEASED = "leased"
    CLEANING = "cleaning"
    QUARANTINED = "quarantined"
    DRAINED = "drained"
