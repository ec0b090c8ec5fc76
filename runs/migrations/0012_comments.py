"""Comments on runs, and on the lines that they change."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0011_certificate_names"),
    ]

    operations = [
        migrations.CreateModel(
            name="Comment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("commit_sha", models.CharField(max_length=40)),
                ("path", models.TextField(blank=True)),
                (
                    "side",
                    models.CharField(
                        blank=True, choices=[("new", "new"), ("old", "old")], max_length=3
                    ),
                ),
                ("line", models.PositiveIntegerField(blank=True, null=True)),
                ("quote", models.TextField(blank=True)),
                ("text", models.TextField()),
                ("actor", models.CharField(max_length=150)),
                ("at", models.DateTimeField()),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("resolved_by", models.CharField(blank=True, max_length=150)),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="comments",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("line", None), ("side", "")),
                            models.Q(
                                ("line__gte", 1),
                                ("line__isnull", False),
                                ("side__in", ("new", "old")),
                            ),
                            _connector="OR",
                        ),
                        name="runs_comment_line_has_a_side",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("line", None), models.Q(("path", ""), _negated=True), _connector="OR"
                        ),
                        name="runs_comment_line_has_a_path",
                    ),
                ],
            },
        ),
    ]
