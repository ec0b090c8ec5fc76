"""Checks of the files of secrets, and of others, that settings of the control plane name."""

import os
from collections.abc import Iterator
from pathlib import Path

from host.config import Config
from host.env_file_access import find_user_name, read_mode_and_owner
from host.masking import control_secrets
from ops.doctor import findings
from ops.doctor.findings import Finding

PUBLIC = ("GIT_SSH_KNOWN_HOSTS_FILE",)


def check_files(config: Config) -> Iterator[Finding]:
    """Check that the control plane, and no other user, can read each file."""
    for name in (*control_secrets.FILES, *PUBLIC):
        if path := config.get(name):
            mode, owner = read_mode_and_owner(Path(path))
            wanted, is_secret = find_user_name(os.geteuid()), name in control_secrets.FILES
            yield findings.judge_file(name, path, mode, owner, wanted, is_secret=is_secret)
