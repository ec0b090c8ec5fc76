"""The control plane's own static files: which are collected, and how they are stored."""

from whitenoise.storage import CompressedManifestStaticFilesStorage

# What no page loads, half of all bytes: it is not collected.
UNUSED_FILES = ["*.map", "redoc"]


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Compressed files with hashed names; a file that was not collected keeps its plain name.

    So a page never fails for a missing file, as in tests, which collect none.
    """

    # Only the addresses in style sheets are replaced: source maps are not collected.
    patterns = (("*.css", CompressedManifestStaticFilesStorage.patterns[0][1][:2]),)

    def stored_name(self, name: str) -> str:
        """Return the hashed name of a collected file, else `name`."""
        known: dict[str, str] = self.hashed_files
        return known.get(self.hash_key(self.clean_name(name)), name)
