"""The control plane's static files are collected once, compressed and named by their content."""

from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.test import Client

from oroboros.static_files import UNUSED_FILES, HashedStaticFiles


@pytest.mark.full
def test_collected_files_are_compressed_and_named_by_their_content(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=UNUSED_FILES)
    files = HashedStaticFiles(location=tmp_path, base_url="/static/")
    url = files.url("oroboros/admin.css")
    assert url.startswith("/static/oroboros/admin.") and url != "/static/oroboros/admin.css"
    collected = tmp_path / Path(url).relative_to("/static")
    assert collected.with_name(f"{collected.name}.gz").exists()
    assert not list(tmp_path.rglob("*.map"))


def test_a_file_that_was_not_collected_keeps_its_plain_name():
    assert staticfiles_storage.url("oroboros/none.css") == "/static/oroboros/none.css"


@pytest.mark.django_db
def test_a_login_page_needs_no_web_font_for_its_text():
    page = Client().get("/admin/login/").content.decode()
    assert "/static/unfold/fonts/inter/styles.css" in page
    style = Path(__file__).parents[2] / "static/unfold/fonts/inter/styles.css"
    assert "@font-face" not in style.read_text()
