from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0016_not_pushed_index")]

    operations = [
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["kind", "-id"], name="runs_events_of_a_kind"),
        ),
    ]
