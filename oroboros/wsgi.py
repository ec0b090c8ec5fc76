"""The API and the admin as a WSGI application."""

import os

from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.urls import get_resolver

from web.request_framing import read_chunked_bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "oroboros.settings")
application = read_chunked_bodies(get_wsgi_application())
# Loaded once for all workers: they are forked from the process that imports this.
get_resolver().reverse_dict  # noqa: B018 — reading it loads the views
connections.close_all()
