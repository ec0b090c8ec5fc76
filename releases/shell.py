"""What `scripts/rollback.sh` and the management commands share. No Django."""

import getpass
import os


def get_shell_actor() -> str:
    """Return the user of this shell; under sudo the user who called it."""
    return os.environ.get("SUDO_USER") or getpass.getuser()
