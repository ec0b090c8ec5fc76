"""A Django application with a Celery worker, beat and Redis, and a second server for its pages."""

REQUIREMENTS = "django>=5.2,<5.3\npsycopg[binary]\ncelery[redis]>=5.5,<6\ngunicorn\n"
PROCFILE = """\
web: gunicorn shop.wsgi --bind 127.0.0.1:$PORT --threads 8
release: python manage.py migrate --noinput
worker: celery -A shop worker --concurrency 1 --loglevel INFO
beat: celery -A shop beat --schedule $HOME/beat --pidfile=
site: python site_server.py
"""
APP_JSON = '{"addons": ["heroku-redis"]}'
SITE_MANIFEST = """\
[processes.site]
port = true

[routes]
"/*" = "site"
"""
SETTINGS = """\
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("OROBOROS_SECRET", "build")
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", ""),
        "HOST": os.environ.get("PGHOST", ""),
        "PORT": os.environ.get("PGPORT", ""),
        "USER": os.environ.get("PGUSER", ""),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
    }
}
CELERY_BROKER_URL = os.environ.get("REDIS_URL", "")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE = {
    "tick": {"task": "shop.tasks.record", "schedule": 1.0, "args": ["tick"]},
}
"""
CELERY = """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
TASKS = """\
import os

from celery import shared_task


@shared_task
def record(text):
    from shop.models import Done

    Done.objects.create(
        text=text,
        place=os.environ.get("OROBOROS_SLOT", "production"),
        process=os.environ["OROBOROS_PROCESS"],
        commit=os.environ["OROBOROS_COMMIT"],
    )
"""
MODELS = """\
from django.db import models


class Done(models.Model):
    text = models.TextField()
    place = models.TextField()
    process = models.TextField()
    commit = models.TextField()
"""
MIGRATION = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Done",
            [
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("text", models.TextField()),
                ("place", models.TextField()),
                ("process", models.TextField()),
                ("commit", models.TextField()),
            ],
        )
    ]
"""
URLS = """\
import os
from pathlib import Path

from django.http import JsonResponse
from django.urls import path

from shop.models import Done
from shop.tasks import record

VERSION = (Path(__file__).parent.parent / "version").read_text()


def enqueue(request, text):
    record.delay(text)
    return JsonResponse({"queued": text})


def done(request):
    names = ("text", "place", "process", "commit")
    return JsonResponse({"done": list(Done.objects.exclude(text="tick").values(*names))})


def ticks(request):
    return JsonResponse({"ticks": Done.objects.filter(text="tick").count()})


def version(request):
    return JsonResponse({"version": VERSION, "commit": os.environ["OROBOROS_COMMIT"]})


urlpatterns = [
    path("api/enqueue/<text>", enqueue),
    path("api/done", done),
    path("api/ticks", ticks),
    path("api/version", version),
]
"""
# The page, and the asset that it names.
SITE = """\
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSION = Path("version").read_text()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is sent at once: a kill leaves no half of one

    def do_GET(self):
        asset = f"/app-{VERSION}.js"
        found = self.path in ("/", asset)
        text = f"/* {VERSION} */" if self.path == asset else f"<title>{VERSION}</title>"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
FILES = {
    "requirements.txt": REQUIREMENTS,
    "Procfile": PROCFILE,
    "app.json": APP_JSON,
    "oroboros.toml": SITE_MANIFEST,
    "site_server.py": SITE,
    "version": "0000000a",
    "manage.py": "import os, sys\n"
    "from django.core.management import execute_from_command_line\n\n"
    'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
    "execute_from_command_line(sys.argv)\n",
    "shop/__init__.py": "from shop.celery import app as celery_app\n",
    "shop/celery.py": CELERY,
    "shop/settings.py": SETTINGS,
    "shop/wsgi.py": "import os\n\nfrom django.core.wsgi import get_wsgi_application\n\n"
    'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
    "application = get_wsgi_application()\n",
    "shop/models.py": MODELS,
    "shop/tasks.py": TASKS,
    "shop/urls.py": URLS,
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": MIGRATION,
}
