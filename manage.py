#!/usr/bin/env python
"""Django's command line with this checkout's settings; as root it continues as the service user."""

import os
import sys

if __name__ == "__main__":
    from host import config, service_user

    service_user.switch_to_service_user(config.load())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "oroboros.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
