"""The service's user of this host, and the switch to it for commands that root starts."""

import os
import pwd
import re

from host.config import SERVICE, Config

# The units that a reload hook restarts if the application is Oroboros itself.
OWN_UNITS = re.compile(r"\bouroboros-(api|worker)\b")


def switch_to_service_user(config: Config) -> None:
    """If root runs a checkout that systemd manages, switch to the control plane's user.

    Files that the command creates then belong to the service, which has to change them later.
    """
    if not (config.is_systemd and os.geteuid() == 0):
        return
    entry = pwd.getpwnam(SERVICE)
    os.initgroups(SERVICE, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir
