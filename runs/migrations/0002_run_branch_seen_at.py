"""Whether the remote ever had the run's branch: only then its end is the run's."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="branch_seen_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
