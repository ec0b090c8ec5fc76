from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_audit_trail")]

    operations = [
        migrations.RemoveConstraint(
            model_name="apitoken",
            name="accounts_abilities_are_known",
        ),
        migrations.AddConstraint(
            model_name="apitoken",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("abilities__contained_by", ["view", "hold", "approve", "operate", "preview"])
                ),
                name="accounts_abilities_are_known",
            ),
        ),
    ]
