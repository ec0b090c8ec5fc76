"""Checks of the forge: its settings, its secrets, its API, and whether its webhooks arrive."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from forges.adapters.known_forges import create_forge
from forges.forge_settings import ForgeSettings, read_forge_settings
from host.config import Config
from host.env_file_access import find_user_name, read_mode_and_owner
from host.errors import Refused
from ops.doctor import findings
from ops.doctor.findings import Finding

SECRETS = {"FORGE_WEBHOOK_SECRET_FILE": "secret_file", "FORGE_TOKEN_FILE": "token_file"}


def check_forge(config: Config, describe_last_delivery: Callable[[], str]) -> Iterator[Finding]:
    """Check what is set; `describe_last_delivery` returns "" if none has come yet."""
    try:
        settings = read_forge_settings(config)
    except Refused as refused:
        yield findings.judge_forge_settings(refused.detail)
        return
    if settings is None:
        yield Finding("forge", True, "none is set: pull requests start no previews")
        return
    yield findings.judge_forge_settings("", f"{settings.forge}, {settings.repository}")
    yield from _check_secrets(config)
    yield _check_token(settings)
    yield findings.judge_webhook(settings.forge, config.is_https, describe_last_delivery())


def _check_secrets(config: Config) -> Iterator[Finding]:
    for name in SECRETS:
        if path := config.get(name):
            mode, owner = read_mode_and_owner(Path(path))
            wanted = find_user_name(os.geteuid())
            yield findings.judge_git_file(name, path, mode, owner, wanted, is_secret=True)
    if not config.get("FORGE_WEBHOOK_SECRET_FILE"):
        yield findings.judge_forge_settings("FORGE_WEBHOOK_SECRET_FILE is not set.")


def _check_token(settings: ForgeSettings) -> Finding:
    """Check whether the token may read the pull requests."""
    if not settings.has_token:
        return findings.judge_forge_token("not set: nothing is asked of the forge", is_ok=True)
    try:
        found = create_forge(settings).list_open_pull_requests()
    except Refused as refused:
        return findings.judge_forge_token(refused.detail, is_ok=False)
    return findings.judge_forge_token(f"reads {len(found)} open pull requests", is_ok=True)
