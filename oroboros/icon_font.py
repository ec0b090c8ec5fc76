"""The icon font of the admin's pages, reduced to the icons that they can have.

unfold's font has about 4,000 icons in 292 kB, most of what a first visit of the dashboard loads.
"""

import io
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from django.apps import apps
from django.conf import settings
from fontTools import subset
from fontTools.ttLib import TTFont

# Its name as a static file, which unfold's style sheets load.
NAME = "unfold/fonts/material-symbols/Material-Symbols-Outlined.woff2"
SOURCES = {".html", ".py", ".js", ".css"}
WORD = re.compile(r"[a-z0-9_]+")


def read_words() -> set[str]:
    """Return the words of all templates, modules, scripts and style sheets.

    The name of an icon is a word of one of them, such as `home` in the element of an icon, `add` in
    a setting, or `error` in the `content` of a style. Most words are no icons, and some icons that
    are found so are never shown; to look for the places of icons only would miss some.
    """
    folders = [Path(config.path) for config in apps.get_app_configs()]
    folders += [settings.BASE_DIR / "templates", settings.BASE_DIR / "static"]
    texts = (path.read_text("utf-8", "ignore") for path in _list_sources(folders))
    return {word for text in texts for word in WORD.findall(text)}


def reduce_font(font: bytes, words: Collection[str]) -> bytes:
    """Return a WOFF2 font with those of its icons whose names are among `words`.

    An icon is the ligature of its name's letters, so letters, digits and `_` stay too.
    """
    source = TTFont(io.BytesIO(font))
    options = subset.Options(flavor="woff2", layout_closure=False, notdef_outline=True)
    options.drop_tables += ["FFTM"]  # dates only, which fontTools cannot reduce
    reduced = subset.Subsetter(options)
    icons = read_icons(source)
    reduced.populate(glyphs=[icons[name] for name in icons.keys() & words], text="".join(words))
    reduced.subset(source)
    target = io.BytesIO()
    subset.save_font(source, target, options)
    return target.getvalue()


def read_icons(font: TTFont) -> dict[str, str]:
    """Return the glyph of each icon by the icon's name."""
    letters = {glyph: chr(code) for code, glyph in font.getBestCmap().items()}
    tables = (table for lookup in font["GSUB"].table.LookupList.Lookup for table in lookup.SubTable)
    icons = {}
    for table in tables:
        for first, ligatures in table.ligatures.items():
            for ligature in ligatures:
                name = "".join(letters.get(one, "?") for one in (first, *ligature.Component))
                icons[name] = ligature.LigGlyph
    return icons


def _list_sources(folders: Iterable[Path]) -> Iterable[Path]:
    paths = (path for folder in folders for path in folder.rglob("*"))
    return (path for path in paths if path.suffix in SOURCES and path.is_file())
