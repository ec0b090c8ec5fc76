"""Django projects of other people, in the shape in which their authors publish them."""

# github.com/heroku/python-getting-started; its Python and Django are those of this host.
HEROKU_SETTINGS = """\
import os
import secrets
from pathlib import Path

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", default=secrets.token_urlsafe(nbytes=64))
DEBUG = os.environ.get("ENVIRONMENT") == "development"
IS_HEROKU_APP = "DYNO" in os.environ and "CI" not in os.environ
if IS_HEROKU_APP:
    ALLOWED_HOSTS = ["*"]
    SECURE_SSL_REDIRECT = True
else:
    ALLOWED_HOSTS = [".localhost", "127.0.0.1", "[::1]", "0.0.0.0", "[::]"]
INSTALLED_APPS = ["whitenoise.runserver_nostatic", "django.contrib.staticfiles", "hello"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "gettingstarted.urls"
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [], "APP_DIRS": True}
]
WSGI_APPLICATION = "gettingstarted.wsgi.application"
if IS_HEROKU_APP:
    DATABASES = {"default": dj_database_url.config(env="DATABASE_URL", ssl_require=True)}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": BASE_DIR / "db.sqlite3",
        }
    }
USE_TZ = True
STATIC_ROOT = BASE_DIR / "staticfiles"
STATIC_URL = "static/"
STORAGES = {
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
"""
HEROKU_GUNICORN = """\
import os

bind = ["[::]:{}".format(os.environ.get("PORT", 5006))]
worker_class = "gthread"
workers = os.environ.get("WEB_CONCURRENCY", 1)
threads = 5
accesslog = "-"
if os.environ.get("ENVIRONMENT") == "development":
    reload = True
else:
    preload_app = True
    reuse_port = True
    forwarded_allow_ips = "*"
"""
ENTRY = """\
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")
"""
MANAGE = f"""\
#!/usr/bin/env python
import sys

{ENTRY}
if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
"""
WSGI = f"""\
{ENTRY}
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
"""
MODEL = """\
from django.db import models


class Greeting(models.Model):
    when = models.DateTimeField("date created", auto_now_add=True)
"""
HEROKU = {
    "Procfile": "web: gunicorn --config gunicorn.conf.py gettingstarted.wsgi\n",
    "requirements.txt": "django>=5.2,<5.3\ngunicorn>=23\ndj-database-url>=3,<4\nwhitenoise>=6,<7\n",
    "app.json": '{"env": {"DJANGO_SECRET_KEY": {"generator": "secret"}}}',
    ".python-version": "# The Python version to use for the project.\n3.11\n",
    "gunicorn.conf.py": HEROKU_GUNICORN,
    "manage.py": MANAGE.format(settings="gettingstarted.settings"),
    "gettingstarted/__init__.py": "",
    "gettingstarted/settings.py": HEROKU_SETTINGS,
    "gettingstarted/wsgi.py": WSGI.format(settings="gettingstarted.settings"),
    "gettingstarted/urls.py": "from django.urls import path\n\nimport hello.views\n\n"
    'urlpatterns = [path("", hello.views.index, name="index")]\n',
    "hello/__init__.py": "",
    "hello/models.py": MODEL,
    "hello/views.py": "from django.shortcuts import render\n\n\n"
    'def index(request):\n    return render(request, "index.html")\n',
    "hello/static/lang-logo.svg": '<svg xmlns="http://www.w3.org/2000/svg"/>\n',
    "hello/templates/index.html": "{% load static %}<h1>Getting Started on Heroku</h1>"
    "<img src=\"{% static 'lang-logo.svg' %}\">\n",
}

# cookiecutter-django with Heroku and WhiteNoise: settings for each environment, configured by
# variables, and a manage.py that uses those for development.
BASE_SETTINGS = """\
from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve(strict=True).parent.parent.parent
env = environ.Env()
READ_DOT_ENV_FILE = env.bool("DJANGO_READ_DOT_ENV_FILE", default=False)
if READ_DOT_ENV_FILE:
    env.read_env(str(BASE_DIR / ".env"))
DEBUG = env.bool("DJANGO_DEBUG", False)
DATABASES = {"default": env.db("DATABASE_URL", default="postgres:///my_awesome_project")}
DATABASES["default"]["ATOMIC_REQUESTS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.admin",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_ROOT = str(BASE_DIR / "staticfiles")
STATIC_URL = "/static/"
USE_TZ = True
"""
LOCAL_SETTINGS = """\
from .base import *  # noqa: F403
from .base import INSTALLED_APPS, env

DEBUG = True
SECRET_KEY = env("DJANGO_SECRET_KEY", default="only-here")
INSTALLED_APPS += ["debug_toolbar"]
"""
PRODUCTION_SETTINGS = """\
from .base import *  # noqa: F403
from .base import env

SECRET_KEY = env("DJANGO_SECRET_KEY")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["example.com"])
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = env.bool("DJANGO_SECURE_SSL_REDIRECT", default=True)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
ADMIN_URL = env("DJANGO_ADMIN_URL")
MAILGUN_API_KEY = env("MAILGUN_API_KEY")
"""
COOKIECUTTER = {
    "Procfile": "release: python manage.py migrate\nweb: gunicorn config.wsgi:application\n",
    "requirements.txt": "# This file is expected by Heroku.\n\n-r requirements/production.txt\n",
    "requirements/production.txt": "-r base.txt\n\ngunicorn\npsycopg[binary]\n",
    "requirements/base.txt": "django>=5.2,<5.3\ndjango-environ\nwhitenoise\n",
    "manage.py": MANAGE.format(settings="config.settings.local"),
    "config/__init__.py": "",
    "config/wsgi.py": WSGI.format(settings="config.settings.production"),
    "config/urls.py": "from django.conf import settings\nfrom django.contrib import admin\n"
    "from django.urls import path\n\nurlpatterns = [path(settings.ADMIN_URL, admin.site.urls)]\n",
    "config/settings/__init__.py": "",
    "config/settings/base.py": BASE_SETTINGS,
    "config/settings/local.py": LOCAL_SETTINGS,
    "config/settings/production.py": PRODUCTION_SETTINGS,
}
SETTINGS_LINE = 'DJANGO_SETTINGS_MODULE = "config.settings.production"\n'
COOKIECUTTER_ENV = f"""\
[env]
{SETTINGS_LINE}DJANGO_SECRET_KEY = "${{OROBOROS_SECRET}}"
DJANGO_ALLOWED_HOSTS = "${{OROBOROS_HOSTS}}"
DJANGO_ADMIN_URL = "admin/"
DJANGO_SECURE_SSL_REDIRECT = "False"
MAILGUN_API_KEY = "none-in-previews"
"""
