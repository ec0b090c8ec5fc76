"""Sets of pictures of ready previews and of production."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("releases", "0002_titles_and_temporary_releases"),
        ("runs", "0012_comments"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScreenshotSet",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("claim_owner", models.CharField(blank=True, max_length=100)),
                ("claim_fence", models.PositiveBigIntegerField(default=0)),
                ("claim_expires_at", models.DateTimeField(blank=True, null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("generation", models.PositiveIntegerField()),
                ("commit_sha", models.CharField(max_length=40)),
                ("detail", models.TextField(blank=True)),
                ("requested_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("enqueued_at", models.DateTimeField(blank=True, null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("running", "Running"),
                            ("taken", "Taken"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                        ],
                        default="waiting",
                        max_length=16,
                    ),
                ),
                ("pictures", models.JSONField(blank=True, default=list)),
                (
                    "release",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="releases.release",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="screenshot_sets",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "ordering": ["-requested_at", "-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["waiting", "running", "taken", "failed", "canceled"])
                        ),
                        name="runs_screenshot_status_is_known",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ("waiting", "running"))),
                        fields=("run",),
                        name="runs_one_open_screenshot_set",
                    ),
                    models.UniqueConstraint(
                        fields=("run", "generation", "commit_sha"),
                        name="runs_one_screenshot_set_per_commit",
                    ),
                ],
            },
        ),
    ]
