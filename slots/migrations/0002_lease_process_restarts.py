"""Count the restarts of each process of a lease."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("slots", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="lease",
            name="process_restarts",
            field=models.JSONField(
                blank=True, db_default=models.Value({}, models.JSONField()), default=dict
            ),
        ),
    ]
