"""The options of the commands that set how long a token lasts."""

from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from accounts.tokens import MAX_LIFETIME_DAYS, get_default_lifetime


def add_lifetime_options(parser: ArgumentParser) -> None:
    """Add `--days` and `--no-expiry`; the default is TOKEN_LIFETIME_DAYS."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--days",
        type=int,
        choices=range(1, MAX_LIFETIME_DAYS + 1),
        default=get_default_lifetime().days,
        metavar="DAYS",
        help=f"days until it expires, at most {MAX_LIFETIME_DAYS} (default: %(default)s)",
    )
    group.add_argument("--no-expiry", action="store_true", help="it does not expire")


def read_lifetime_options(options: Mapping[str, Any]) -> timedelta | None:
    """Return the lifetime that the options state; None: the token does not expire."""
    return None if options["no_expiry"] else timedelta(days=options["days"])
