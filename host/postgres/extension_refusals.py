"""Explains why an application could not create an extension of PostgreSQL. Pure functions."""

import re

MISSING = re.compile(
    r'extension "([\w-]+)" is not available'
    r'|could not open extension control file "[^"]*/([\w-]+)\.control"'
)
DENIED = re.compile(r'permission denied to create extension "([\w-]+)"')


def explain_refused_extension(output: str) -> str:
    """Return sentences about an extension that `output` says was refused; else ""."""
    if match := MISSING.search(output):
        return (
            f"The applications' PostgreSQL server has no extension {match[1] or match[2]}. "
            "docs/operate.md, PostgreSQL's extensions, says which server has which, and what "
            "brings the others."
        )
    if match := DENIED.search(output):
        return (
            f"Only a superuser may create the extension {match[1]}, and no role of Oroboros is "
            "one. An administrator of the server can mark it as trusted: trusted = true in its "
            "control file (postgresql.org/docs/current/extend-extensions.html)."
        )
    return ""
