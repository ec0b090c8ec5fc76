"""The icon font that pages load has the icons of our pages, and few others."""

import io
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from fontTools.ttLib import TTFont

from oroboros import icon_font
from oroboros.static_files import HashedStaticFiles
from tests.factories import UserFactory

ICON = re.compile(r'<span[^>]*class="[^"]*material-symbols-outlined[^"]*"[^>]*>\s*([a-z0-9_]+)\s*<')


@pytest.fixture(scope="module")
def whole_font():
    return Path(finders.find(icon_font.NAME)).read_bytes()


def read_icons(font: bytes) -> set[str]:
    return set(icon_font.read_icons(TTFont(io.BytesIO(font))))


def test_a_reduced_font_has_the_icons_that_are_named_and_no_others(whole_font):
    icons = read_icons(icon_font.reduce_font(whole_font, {"home", "arrow_back", "no_such_icon"}))
    assert icons == {"home", "arrow_back"}


def test_each_icon_draws_what_it_drew_before(whole_font):
    reduced = TTFont(io.BytesIO(icon_font.reduce_font(whole_font, {"home", "arrow_back"})))
    whole = TTFont(io.BytesIO(whole_font))
    for name in ("home", "arrow_back"):
        before, after = (icon_font.read_icons(font)[name] for font in (whole, reduced))
        assert reduced["glyf"][after] == whole["glyf"][before]


def test_words_of_templates_settings_scripts_and_styles_are_found():
    # Of our menu, of the search of commands, and of unfold's form errors and filters.
    assert {"dashboard", "rocket_launch", "error", "filter_list"} <= icon_font.read_words()


@pytest.mark.django_db
def test_the_collected_font_has_the_icons_of_the_dashboard(tmp_path, whole_font):
    files = HashedStaticFiles(location=tmp_path, base_url="/static/")
    found = finders.find(icon_font.NAME)
    storage = HashedStaticFiles(location=Path(found).parents[3], base_url="/static/")
    for _name, _stored, processed in files.post_process(
        {icon_font.NAME: (storage, icon_font.NAME)}
    ):
        assert not isinstance(processed, Exception), processed
    collected = tmp_path / Path(files.url(icon_font.NAME)).relative_to("/static")
    font = collected.read_bytes()
    assert font == (tmp_path / icon_font.NAME).read_bytes()
    client = Client()
    client.force_login(UserFactory(is_superuser=True))
    page = client.get(reverse("admin:index")).content.decode()
    shown = set(ICON.findall(page))
    assert len(shown) > 5
    assert shown <= read_icons(font)
    assert len(font) < len(whole_font) / 5
