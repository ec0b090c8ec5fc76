"""A browser for the tests of this folder."""

from tests.runs.admin.browser import chromium, open_admin

__all__ = ["chromium", "open_admin"]
