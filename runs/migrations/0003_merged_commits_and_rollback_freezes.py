import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("releases", "0001_initial"),
        ("runs", "0002_notes_and_failure_codes"),
    ]

    operations = [
        migrations.AddField(
            model_name="freeze",
            name="rollback",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="freeze",
                to="releases.deployment",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("status", "merged")),
                fields=["commit_sha"],
                name="runs_merged_commits",
            ),
        ),
    ]
