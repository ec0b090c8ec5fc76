"""What releases may become: values in, values out."""

from django.db.models import TextChoices


class ReleaseStatus(TextChoices):
    """What happened to a release; exactly one is live."""

    BUILDING = "building"
    BUILT = "built"
    LIVE = "live"
    RETIRED = "retired"
    FAILED = "failed"
    STUCK = "stuck"
