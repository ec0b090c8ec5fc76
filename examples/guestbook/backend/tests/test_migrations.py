"""The migrations' files: numbered without a gap, applied once and in order."""

import tempfile
import unittest
from pathlib import Path

from guestbook.migrate import FOLDER, pending


class Files(unittest.TestCase):
    def test_they_are_numbered_from_one_without_a_gap(self):
        numbers = [int(path.name.partition("_")[0]) for path in sorted(FOLDER.glob("*.sql"))]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_only_what_is_new_is_pending_and_in_order(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("0003_c", "0001_a", "0002_b"):
                Path(folder, f"{name}.sql").touch()
            names = [path.stem for path in pending(Path(folder), {"0001_a"})]
        self.assertEqual(names, ["0002_b", "0003_c"])
