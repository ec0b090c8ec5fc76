"""Tell a slot that the reconciler cleans from one that a person has quarantined."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("slots", "0002_lease_process_restarts")]

    operations = [
        migrations.AddField(
            model_name="slot",
            name="is_being_cleaned",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.CheckConstraint(
                condition=models.Q(is_being_cleaned=False) | models.Q(quarantined_at__isnull=False),
                name="slots_a_slot_being_cleaned_is_quarantined",
            ),
        ),
    ]
