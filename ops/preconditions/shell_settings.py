"""Settings of the shell that differ from the env files: they count for one start only."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from host import config as configuration
from host.app.dependencies import registries
from host.config import CONTROL_FILES, Config

# These say where the configuration is, so no env file can have them.
NOT_KEPT = frozenset({"OROBOROS_HOME", "OROBOROS_VAR", "OROBOROS_ENV_DIR", "OROBOROS_PYTHON"})
# Read by what the control plane starts, or by Django.
EXTRA_NAMES = frozenset({"HOME", "PATH", "LANG", "TZ", "TMPDIR"})
NEAR = 0.8  # of difflib's ratio: one letter of ten, or a part that is missing
LISTED = re.compile(r"^#?([A-Z][A-Z0-9_]+)=", re.MULTILINE)


def list_setting_names() -> list[str]:
    """Return the names of all settings that an env file can have, from .env.example."""
    names = LISTED.findall((configuration.HOME / ".env.example").read_text())
    return [name for name in names if name not in NOT_KEPT]


def find_unknown_names(values: Iterable[str]) -> dict[str, str]:
    """Return the names that are no setting's, each with the setting that it is like, else ""."""
    known = {*list_setting_names(), *NOT_KEPT, *registries.ALL_NAMES, *EXTRA_NAMES}
    unknown = [name for name in values if name not in known]
    return {
        name: next(iter(get_close_matches(name, known, n=1, cutoff=NEAR)), "") for name in unknown
    }


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
