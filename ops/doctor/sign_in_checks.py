"""Checks of the OpenID Connect provider: its document, its issuer and its clock."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from accounts.sign_in.options import Provider, SignIn, read_options
from host.config import Config
from host.errors import Refused
from ops.doctor import findings
from ops.doctor.findings import Finding

SECONDS = 10.0
LEEWAY_SECONDS = 60  # accounts.sign_in.provider, which needs Django


def check_sign_in(config: Config) -> Iterator[Finding]:
    """Check how people log in; of a provider whether it can be used now."""
    options = read_options(config)
    yield judge_options(options)
    if options.provider is None:
        return
    try:
        options.provider.read_secret()
    except Refused as refused:
        yield judge_provider(refused.detail)
        return
    yield _request_document(options.provider)


def judge_options(options: SignIn) -> Finding:
    """Judge the settings: without a role for a group of the provider no person gets in."""
    ways = ["passwords"] if options.has_passwords else []
    provider = options.provider
    if provider is not None:
        ways.append(provider.name)
    observed = f"{' and '.join(ways)}; second factor: {options.second_factor}"
    if provider is not None and not provider.groups:
        remedy = (
            "Set OIDC_VIEWER_GROUPS, OIDC_APPROVER_GROUPS or OIDC_OPERATOR_GROUPS; "
            f"{findings.RESTART_COMMANDS}"
        )
        return Finding("sign-in", False, "no group of the provider has a role", remedy)
    return Finding("sign-in", True, observed)


def _request_document(provider: Provider) -> Finding:
    try:
        response = requests.get(provider.discovery_url, timeout=SECONDS)
        response.raise_for_status()
        document: Any = response.json()
    except (requests.RequestException, ValueError) as error:
        return judge_provider(f"{provider.discovery_url}: {error}")
    problem = find_problem(document, response.headers.get("Date", ""), provider.issuer)
    return judge_provider(problem, f"{provider.issuer} answers")


def find_problem(document: Any, date: str, issuer: str) -> str:
    """Return what is wrong with the provider's discovery document or its clock; "" if nothing."""
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        found = document.get("issuer") if isinstance(document, dict) else None
        return f"it calls itself {found!r}, OIDC_ISSUER is {issuer!r}"
    try:
        behind = (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):  # a server need not tell the time
        return ""
    if abs(behind) > LEEWAY_SECONDS:
        return f"its clock and this host's differ by {abs(behind):.0f} s"
    return ""


def judge_provider(problem: str, observed: str = "") -> Finding:
    """Judge the provider; `problem` is "" if it can be used."""
    remedy = (
        "Compare the settings with the provider (docs/sign-in.md has the steps), and the clocks: "
        f"tokens count for minutes. {findings.RESTART_COMMANDS}"
    )
    return Finding("sign-in provider", not problem, problem or observed, remedy)
