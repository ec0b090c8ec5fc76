"""What several tests of an application's files need."""

import pytest

from host.app import manifest_loader


@pytest.fixture
def load_files(tmp_path):
    """Return a function that writes files into a tree and loads the tree's manifest."""

    def load(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return manifest_loader.load_manifest(tmp_path)

    return load
