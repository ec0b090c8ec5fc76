"""Since when a backend does not answer, apart from when its back-off is over."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("slots", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="lease",
            name="unhealthy_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
