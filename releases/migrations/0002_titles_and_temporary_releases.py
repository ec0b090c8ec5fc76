"""Give releases a title, and mark those that a precheck built."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("releases", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="release",
            name="is_temporary",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="release",
            name="title",
            field=models.CharField(blank=True, db_default="", max_length=200),
        ),
    ]
