"""The control plane's own static files: which are collected, and how they are stored."""

from collections.abc import Iterator
from typing import Any

from django.core.files.base import ContentFile
from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage

# What no page loads, half of all bytes: it is not collected.
UNUSED_FILES = ["*.map", "redoc"]


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Compressed files with hashed names; a file that was not collected keeps its plain name.

    So a page never fails for a missing file, as in tests, which collect none.
    """

    # Only the addresses in style sheets are replaced: source maps are not collected.
    patterns = (("*.css", CompressedManifestStaticFilesStorage.patterns[0][1][:2]),)

    def post_process(
        self, paths: dict[str, tuple[Any, str]], dry_run: bool = False, **options: Any
    ) -> Iterator[tuple[str, str, bool | Exception]]:
        """Store the icon font with the icons that pages can have, then all files as Django does."""
        # Imported here: the server, which has this storage too, needs none of it.
        from oroboros import icon_font

        if icon_font.NAME in paths and not dry_run:
            source, path = paths[icon_font.NAME]
            with source.open(path) as file:
                font = icon_font.reduce_font(file.read(), icon_font.read_words())
            self.delete(icon_font.NAME)
            self._save(icon_font.NAME, ContentFile(font))
            paths = {**paths, icon_font.NAME: (self, icon_font.NAME)}
        yield from super().post_process(paths, dry_run, **options)

    def create_compressor(self, **options: Any) -> Compressor:
        # Brotli, which the icon font needs, takes seven times as long as gzip alone.
        return super().create_compressor(use_brotli=False, **options)

    def stored_name(self, name: str) -> str:
        """Return the hashed name of a collected file, else `name`."""
        known: dict[str, str] = self.hashed_files
        return known.get(self.hash_key(self.clean_name(name)), name)
