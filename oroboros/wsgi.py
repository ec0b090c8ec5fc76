"""The API and the admin as a WSGI application."""

import os

from django.core.wsgi import get_wsgi_application

from web.request_framing import read_chunked_bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "oroboros.settings")
application = read_chunked_bodies(get_wsgi_application())
