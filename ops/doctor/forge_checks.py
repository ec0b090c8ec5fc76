"""Checks of the forge: its settings, its API, and whether its webhooks arrive."""

from collections.abc import Callable, Iterator

from forges.adapters.http_client import ForgeFailed
from forges.adapters.known_forges import create_forge
from forges.forge_settings import ForgeSettings, read_forge_settings
from host.config import Config
from host.errors import Refused
from ops.doctor import findings
from ops.doctor.findings import Finding


def check_forge(
    config: Config, describe_last_delivery: Callable[[], str] | None = None
) -> Iterator[Finding]:
    """Check what is set; `describe_last_delivery` returns "" if none has come yet.

    Without it, as before the start, whether deliveries arrive is not checked.
    """
    try:
        settings = read_forge_settings(config)
    except Refused as refused:
        yield findings.judge_forge_settings(refused.detail)
        return
    if settings is None:
        yield Finding("forge", True, "none is set: pull requests start no previews")
        return
    yield findings.judge_forge_settings("", f"{settings.forge}, {settings.repository}")
    if not config.get("FORGE_WEBHOOK_SECRET_FILE"):
        yield findings.judge_forge_settings("FORGE_WEBHOOK_SECRET_FILE is not set.")
    yield _check_token(settings)
    if settings.has_token:
        yield _check_hook(settings, config)
    if describe_last_delivery is not None:
        yield findings.judge_webhook(settings.forge, config.is_https, describe_last_delivery())


def _check_token(settings: ForgeSettings) -> Finding:
    """Check whether the token may read the pull requests, and what else it may do."""
    if not settings.has_token:
        return findings.judge_forge_token("not set: nothing is asked of the forge", is_ok=True)
    try:
        forge = create_forge(settings)
        found, access = forge.list_open_pull_requests(), forge.describe_access()
    except Refused as refused:
        return findings.judge_forge_token(refused.detail, is_ok=False)
    observed = f"reads {len(found)} open pull requests; {access.observed}"
    if access.missing:
        observed += f"; lacks {', '.join(access.missing)}"
    return findings.judge_forge_token(observed, is_ok=not access.missing)


def _check_hook(settings: ForgeSettings, config: Config) -> Finding:
    """Check the webhook as the forge has it, if the token may read webhooks."""
    try:
        hook = create_forge(settings).describe_hook()
    except ForgeFailed as failed:
        if failed.http_status not in (401, 403, 404):
            return findings.judge_hook(settings.forge, config.is_https, "", failed.detail)
        unknown = "the token may not read webhooks, which is no fault"
        return findings.judge_hook(settings.forge, config.is_https, unknown, "")
    except Refused as refused:
        return findings.judge_hook(settings.forge, config.is_https, "", refused.detail)
    return findings.judge_hook(settings.forge, config.is_https, hook.observed, hook.problem)
