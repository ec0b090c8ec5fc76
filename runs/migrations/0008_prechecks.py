"""Add prechecks, and give the releases of earlier versions the titles of their runs."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

SET_TITLES = """
UPDATE releases_release SET title = runs_run.title FROM runs_run
WHERE releases_release.run_id = runs_run.id AND releases_release.title = ''
"""


class Migration(migrations.Migration):
    dependencies = [
        ("releases", "0002_titles_and_temporary_releases"),
        ("runs", "0007_approvals_of_several_people"),
    ]

    operations = [
        migrations.CreateModel(
            name="Precheck",
            fields=[
                ("claim_owner", models.CharField(blank=True, max_length=100)),
                ("claim_fence", models.PositiveBigIntegerField(default=0)),
                ("claim_expires_at", models.DateTimeField(blank=True, null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("generation", models.PositiveIntegerField()),
                ("commit_sha", models.CharField(max_length=40)),
                ("base_sha", models.CharField(blank=True, max_length=40)),
                ("candidate_sha", models.CharField(blank=True, max_length=40)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("running", "Running"),
                            ("passed", "Passed"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                        ],
                        default="waiting",
                        max_length=16,
                    ),
                ),
                ("step", models.CharField(blank=True, max_length=32)),
                (
                    "progress",
                    models.JSONField(
                        blank=True, db_default=models.Value({}, models.JSONField()), default=dict
                    ),
                ),
                ("code", models.CharField(blank=True, max_length=32)),
                ("detail", models.TextField(blank=True)),
                ("requested_by", models.CharField(max_length=150)),
                ("requested_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("enqueued_at", models.DateTimeField(blank=True, null=True)),
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
                        related_name="prechecks",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "ordering": ["-requested_at", "-id"],
                "indexes": [
                    models.Index(fields=["run", "-requested_at"], name="runs_prechecks_of_a_run")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["waiting", "running", "passed", "failed", "canceled"])
                        ),
                        name="runs_precheck_status_is_known",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ("waiting", "running"))),
                        fields=("run",),
                        name="runs_one_open_precheck",
                    ),
                ],
            },
        ),
        migrations.RunSQL(SET_TITLES, migrations.RunSQL.noop),
    ]
