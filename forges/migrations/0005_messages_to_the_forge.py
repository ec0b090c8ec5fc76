"""Name several messages to the forge."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("forges", "0004_requested_previews"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="outgoingmessage",
            options={
                "ordering": ["-wanted_at", "-pk"],
                "verbose_name": "message to the forge",
                "verbose_name_plural": "messages to the forge",
            },
        ),
    ]
