"""Know the failure code MERGED_ELSEWHERE."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("releases", "0001_initial"),
        ("runs", "0005_merge_forecast"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="run",
            name="runs_failure_code_is_known",
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "failure_code__in",
                        (
                            "",
                            "MERGE_CONFLICT",
                            "CHECKS_FAILED",
                            "BUILD_FAILED",
                            "MIGRATION_FAILED",
                            "MANIFEST_INVALID",
                            "MAIN_BROKEN",
                            "COMMAND_REFUSED",
                            "UNSAFE_DATABASE_TARGET",
                            "BACKEND_UNHEALTHY",
                            "PROCESS_DIED",
                            "START_FAILED",
                            "EFFECT_MISSING",
                            "PREVIEW_EXPIRED",
                            "MAIN_DIVERGED",
                            "NOTHING_TO_SHIP",
                            "STEP_TIMEOUT",
                            "STEP_KEPT_DYING",
                            "DISK_FULL",
                            "HOST_REFUSED",
                            "DEPLOY_PUSH_FAILED",
                            "DEPLOY_HEALTHCHECK_FAILED",
                            "MERGED_ELSEWHERE",
                            "RELEASED",
                        ),
                    )
                ),
                name="runs_failure_code_is_known",
            ),
        ),
    ]
