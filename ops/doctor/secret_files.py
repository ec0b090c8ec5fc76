"""Checks of the files of secrets, and of others, that settings of the control plane name."""

import os
from collections.abc import Iterator
from pathlib import Path

from host.app.dependencies import registries
from host.config import Config
from host.env_file_access import find_user_name, read_mode_and_owner
from host.masking import control_secrets
from host.units.unit_files import find_hidden_folder
from ops.doctor import findings
from ops.doctor.findings import Finding

PUBLIC = ("GIT_SSH_KNOWN_HOSTS_FILE",)
# Of these only whether the units see them is checked here.
OTHERS = (
    *("ACME_CA_ROOT", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"),
    *registries.CERTIFICATES,
    *registries.FILES,
)


def check_files(config: Config) -> Iterator[Finding]:
    """Check that the control plane, and no other user, can read each file.

    This process sees all of the host. Under systemd the units do not.
    """
    for name in (*control_secrets.FILES, *PUBLIC, *OTHERS):
        path = config.get(name)
        hidden = find_hidden_folder(Path(path)) if config.is_systemd and path else None
        if hidden is not None:
            yield findings.judge_hidden_file(name, path, str(hidden))
        elif path and name not in OTHERS:
            mode, owner = read_mode_and_owner(Path(path))
            wanted, is_secret = find_user_name(os.geteuid()), name in control_secrets.FILES
            yield findings.judge_file(name, path, mode, owner, wanted, is_secret=is_secret)
