"""Postpone deliveries about which the forge could not be asked."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("forges", "0005_messages_to_the_forge"),
    ]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="due_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="delivery",
            name="failures",
            field=models.PositiveIntegerField(default=0),
        ),
    ]
