#!/usr/bin/env python
"""Django's command line with this checkout's settings; as root it continues as the service user."""

import json
import os
import sys

# EX_TEMPFAIL of sysexits.h: the same command succeeds later. The units of timers know it.
TEMPORARY_FAILURE = 75
# What only pages and answers need. The worker has neither: see docs/decisions/0043.
PAGE_APPS = frozenset(
    {
        "unfold",
        "unfold.contrib.filters",
        "django.contrib.admin",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        "django.contrib.humanize",
        "allauth.socialaccount",
        "allauth.socialaccount.providers.openid_connect",
        "allauth.mfa",
        "rest_framework",
        "drf_spectacular",
        "drf_spectacular_sidecar",
        "corsheaders",
    }
)


def run_command() -> None:
    """Run Django's command. Raises Refused `database_unavailable`."""
    from django.core.management import execute_from_command_line
    from django.db import InterfaceError, OperationalError

    from core import outages
    from host.errors import Refused

    if sys.argv[1:2] == ["run_worker"]:
        leave_pages_out()
    try:
        execute_from_command_line(sys.argv)
    except (InterfaceError, OperationalError) as error:
        if not outages.is_outage(error):
            raise
        detail = f"The database does not answer: {outages.describe(error)}"
        raise Refused("database_unavailable", detail, status=503) from error


def leave_pages_out() -> None:
    """Have Django load only the apps that a process without pages needs.

    In this process, not by a variable: the programs that it starts need all apps again.
    """
    from django.conf import settings

    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app not in PAGE_APPS]


def main() -> int:
    """Run the command; a setting that is refused is a sentence and exit code 1, not a traceback."""
    from host import config, service_user
    from host.errors import Refused
    from host.terminal import protect_streams

    protect_streams()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "oroboros.settings")
    try:
        service_user.switch_to_service_user(config.load())
        run_command()
    except Refused as refused:
        sys.stderr.write(f"{refused.detail}\n")
        if os.environ.get("OROBOROS_ONLY") == "releases":  # commands that print one JSON object
            result = {"ok": False, "command": (sys.argv[1:] or [None])[0], "error": refused.code}
            sys.stdout.write(json.dumps({**result, "detail": refused.detail}) + "\n")
        return TEMPORARY_FAILURE if refused.code == "database_unavailable" else 1
    except KeyboardInterrupt:
        return 130  # as a shell says that SIGINT ended a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
