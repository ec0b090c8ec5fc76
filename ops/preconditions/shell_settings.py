"""Settings of the shell that differ from the env files: they count for one start only."""

import re
from collections.abc import Iterable, Mapping

from host import config as configuration
from host.config import CONTROL_FILES, Config

# These say where the configuration is, so no env file can have them.
NOT_KEPT = frozenset({"OROBOROS_HOME", "OROBOROS_VAR", "OROBOROS_ENV_DIR", "OROBOROS_PYTHON"})
LISTED = re.compile(r"^#?([A-Z][A-Z0-9_]+)=", re.MULTILINE)


def list_setting_names() -> list[str]:
    """Return the names of all settings that an env file can have, from .env.example."""
    names = LISTED.findall((configuration.HOME / ".env.example").read_text())
    return [name for name in names if name not in NOT_KEPT]


def find_differing(
    names: Iterable[str], environ: Mapping[str, str], stored: Mapping[str, str]
) -> list[str]:
    """Return the settings that `environ` sets to another value than the env files, if any."""
    return [name for name in names if environ.get(name) and environ[name] != stored.get(name)]


def list_shell_settings(config: Config, environ: Mapping[str, str]) -> list[str]:
    """Return the settings of the caller's environment that the env files do not have so.

    None before the env files exist.
    """
    stored: dict[str, str] = {}
    for name in CONTROL_FILES:
        try:
            stored |= configuration.read_env_file(config.env_dir / name)
        except PermissionError:  # a user of the host who may not read this service's secrets
            return []
    names = list_setting_names()
    return find_differing(names, environ, stored) if stored else []


def describe_shell_settings(config: Config, environ: Mapping[str, str]) -> str:
    """Return the sentence for these settings, without their values; "" if there are none."""
    names = list_shell_settings(config, environ)
    if not names:
        return ""
    return (
        f"{', '.join(names)}: the shell's value counts for this start, and {config.env_dir} has "
        "another or none: write it to worker.env there to keep it, or unset it."
    )
