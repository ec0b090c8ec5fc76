"""The names that were once allowed a certificate."""

from django.db import models


class CertificateName(models.Model):
    """A label for which the router may request certificates: allowed once, it stays allowed.

    Rows are kept, since an authority counts a renewal otherwise than a new name. A day adds at most
    CERTIFICATE_NAMES_PER_DAY of them.
    """

    label = models.CharField(max_length=63, unique=True)
    allowed_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.label
