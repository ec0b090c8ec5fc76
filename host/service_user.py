"""Which user of the host works here: root's commands go on as the service's own user."""

import os
import pwd
import re

from host.config import Config

SERVICE = "oroboros"
# What a reload hook restarts where the application is Oroboros itself.
OURSELVES = re.compile(r"\bouroboros-(api|worker)\b")


def become_service(config: Config) -> None:
    """As root, where systemd keeps this checkout, become the control plane's user for good.

    What a command leaves on the disk then belongs to whoever has to go on with it.
    """
    if not (config.is_systemd and os.geteuid() == 0):
        return
    entry = pwd.getpwnam(SERVICE)
    os.initgroups(SERVICE, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir
