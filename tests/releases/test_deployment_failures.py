"""The stable codes of deployments that failed."""

import pytest

from releases.deployment_failures import MIGRATION_SUBJECT, choose_deployment_error


@pytest.mark.parametrize(
    ("detail", "is_stuck", "code"),
    [
        (f"{MIGRATION_SUBJECT} ended with exit code 1:\nno table", False, "migration_failed"),
        ("The backend does not answer.", False, "deploy_healthcheck_failed"),
        (f"{MIGRATION_SUBJECT} ended with exit code 1", True, "release_stuck"),
    ],
)
def test_a_failed_release_command_is_no_failed_health_check(detail, is_stuck, code):
    assert choose_deployment_error(detail, is_stuck=is_stuck) == code
