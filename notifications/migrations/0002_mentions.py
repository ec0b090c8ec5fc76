"""People who get e-mail are told of their mentions too."""

from django.db import migrations

MENTIONED = "comment.mentioned"


def add_mentions(apps, schema_editor):
    for target in apps.get_model("notifications", "Target").objects.exclude(owner=None):
        if MENTIONED not in target.events:
            target.events = [*target.events, MENTIONED]
            target.save(update_fields=["events"])


def remove_mentions(apps, schema_editor):
    for target in apps.get_model("notifications", "Target").objects.exclude(owner=None):
        target.events = [one for one in target.events if one != MENTIONED]
        target.save(update_fields=["events"])


class Migration(migrations.Migration):
    dependencies = [("notifications", "0001_targets_and_notifications")]
    operations = [migrations.RunPython(add_mentions, remove_mentions)]
