"""Applications with the manifests of docs/reference/manifest.md, complete where the page is short.

Django with its admin, static and uploaded files beside a Vite frontend; FastAPI with Alembic and a
React frontend. Each has a list of items in its database. Next.js beside FastAPI has none: its page
is rendered with what the API of the same generation answers.
"""

import json

DJANGO_SETTINGS = """\
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("OROBOROS_SECRET", "of a build")
ALLOWED_HOSTS = os.environ.get("OROBOROS_HOSTS", "").split(",")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "catalog",
]
MIDDLEWARE = [
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
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
            ],
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", ""),
        "USER": os.environ.get("PGUSER", ""),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
        "HOST": os.environ.get("PGHOST", ""),
        "PORT": os.environ.get("PGPORT", ""),
    }
}
ROOT_URLCONF = "shop.urls"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"
MEDIA_URL = "/media/"
MEDIA_ROOT = BASE_DIR / "media"
"""
DJANGO_URLS = """\
from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.static import serve

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("catalog.urls")),
    path("media/<path:path>", serve, {"document_root": settings.MEDIA_ROOT}),
]
"""
CATALOG_URLS = """\
from django.core.files.storage import default_storage
from django.http import HttpResponse, JsonResponse
from django.urls import path

from catalog.models import Item


def items(request):
    if request.method == "POST":
        upload = request.FILES["picture"]
        Item.objects.create(name=default_storage.save(upload.name, upload))
    return JsonResponse({"items": list(Item.objects.values_list("name", flat=True))})


urlpatterns = [path("items", items)]
"""
CATALOG_MIGRATION = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Item",
            [
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.TextField()),
            ],
        )
    ]
"""
# Beside the files of the page.
DJANGO_AND_VITE = {
    "oroboros.toml": '[storage]\nmedia = "backend/media"\n',
    "backend/requirements.txt": "Django==5.2\ngunicorn==23.0.0\nwhitenoise==6.9.0\n"
    "psycopg[binary]==3.2.9\n",
    "backend/shop/__init__.py": "",
    "backend/shop/settings.py": DJANGO_SETTINGS,
    "backend/shop/urls.py": DJANGO_URLS,
    "backend/shop/wsgi.py": "import os\n\nfrom django.core.wsgi import get_wsgi_application\n\n"
    'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
    "application = get_wsgi_application()\n",
    "backend/catalog/__init__.py": "",
    "backend/catalog/models.py": "from django.db import models\n\n\n"
    "class Item(models.Model):\n    name = models.TextField()\n",
    "backend/catalog/urls.py": CATALOG_URLS,
    "backend/catalog/migrations/__init__.py": "",
    "backend/catalog/migrations/0001_initial.py": CATALOG_MIGRATION,
    "frontend/index.html": '<div id="app"></div><script type="module" src="/main.js"></script>\n',
    "frontend/main.js": 'fetch("/api/items");\n',
}

ALEMBIC_INI = "[alembic]\nscript_location = migrations\n"
ALEMBIC_ENV = """\
import os

from alembic import context
from sqlalchemy import create_engine

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
ALEMBIC_VERSION = """\
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table("item", sa.Column("name", sa.Text))


def downgrade():
    op.drop_table("item")
"""
FASTAPI_MAIN = """\
import os

import psycopg
from fastapi import FastAPI

app = FastAPI()


@app.get("/api/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/items")
def items() -> dict[str, list[str]]:
    with psycopg.connect(os.environ["DATABASE_URL"]) as session:
        return {"items": [name for (name,) in session.execute("SELECT name FROM item")]}


@app.post("/api/items/{name}")
def add(name: str) -> dict[str, list[str]]:
    with psycopg.connect(os.environ["DATABASE_URL"]) as session:
        session.execute("INSERT INTO item VALUES (%s)", [name])
    return items()
"""
REACT_PACKAGE = """\
{
  "scripts": {
    "build": "vite build"
  },
  "dependencies": {
    "react": "19.2.0",
    "react-dom": "19.2.0"
  },
  "devDependencies": {
    "vite": "7.2.4"
  }
}
"""
REACT_MAIN = """\
import React from "react";
import { createRoot } from "react-dom/client";

createRoot(document.getElementById("app")).render(<h1>Items of the shop</h1>);
"""
FASTAPI_AND_REACT = {
    "backend/main.py": FASTAPI_MAIN,
    "backend/alembic.ini": ALEMBIC_INI,
    "backend/migrations/env.py": ALEMBIC_ENV,
    "backend/migrations/versions/0001_items.py": ALEMBIC_VERSION,
    "frontend/package.json": REACT_PACKAGE,
    "frontend/index.html": '<div id="app"></div><script type="module" src="/main.jsx"></script>\n',
    "frontend/main.jsx": REACT_MAIN,
}

NEXT_PAGE = """\
export const dynamic = "force-dynamic";

export default async function Page() {
  const answer = await fetch(`${process.env.API_URL}/api/items`);
  return <h1>Items of {(await answer.json()).commit}</h1>;
}
"""
NEXT_LAYOUT = """\
export default function Layout({ children }) {
  return <html><body>{children}</body></html>;
}
"""
NEXT_API = """\
import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/api/items")
def list_items():
    return {"commit": os.environ["OROBOROS_COMMIT"]}
"""
NEXT_PACKAGE = {
    "scripts": {"build": "next build", "start": "next start"},
    "dependencies": {"next": "^16", "react": "^19", "react-dom": "^19"},
}
NEXT_AND_FASTAPI = {
    "backend/main.py": NEXT_API,
    "frontend/app/layout.js": NEXT_LAYOUT,
    "frontend/app/page.js": NEXT_PAGE,
    "frontend/package.json": json.dumps(NEXT_PACKAGE),
}
