"""Let approved runs wait for external checks."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0009_preview_protection"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="awaited_checks",
            field=models.TextField(blank=True, db_default=""),
        ),
    ]
