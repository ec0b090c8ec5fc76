"""Keep what merging a run into the target branch would give, by both commits."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0004_failure_code_process_died"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="merge_forecast",
            field=models.JSONField(
                blank=True, db_default=models.Value({}, models.JSONField()), default=dict
            ),
        ),
    ]
