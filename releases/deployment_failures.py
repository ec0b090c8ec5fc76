"""The stable codes of deployments that failed. No Django: the shell's commands use them."""

# With these words the detail of a `release:` that failed on production begins.
MIGRATION_SUBJECT = "`release:` on production"
# With these the detail of one that could not begin, since an extension is refused.
EXTENSION_SUBJECT = "The extension "


def is_migration_failure(detail: str) -> bool:
    """Return whether a failed deployment's detail is that of MigrationFailed."""
    return detail.startswith((MIGRATION_SUBJECT, EXTENSION_SUBJECT))


def choose_deployment_error(detail: str, *, is_stuck: bool) -> str:
    """Return the stable code of a deployment that failed."""
    if is_stuck:
        return "release_stuck"
    return "migration_failed" if is_migration_failure(detail) else "deploy_healthcheck_failed"
