"""The folder of an installation's env files, in which the control plane replaces its own files.

Those are the variables of applications, which operators change in the admin. The sticky bit keeps
the control plane from replacing the files of root, which root's systemd reads.
"""

import shutil
import stat
from pathlib import Path

from host.service_user import SERVICE

MODE = 0o1775


def is_ready(folder: Path) -> bool:
    """Return whether the folder exists with its owner, its group and its mode."""
    return (
        folder.is_dir()
        and (folder.owner(), folder.group()) == ("root", SERVICE)
        and stat.S_IMODE(folder.stat().st_mode) == MODE
    )


def prepare(folder: Path) -> None:
    """Create the folder, or give it its owner, its group and its mode."""
    folder.mkdir(mode=0o755, exist_ok=True)
    shutil.chown(folder, "root", SERVICE)
    folder.chmod(MODE)
