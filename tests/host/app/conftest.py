"""What several tests of an application's files need."""

import pytest

from host.app import manifest_loader
from tests.host.app.trees import write_tree


@pytest.fixture
def load_files(tmp_path):
    """Return a function that writes files into a tree and loads the tree's manifest."""

    def load(files):
        write_tree(tmp_path, files)
        return manifest_loader.load_manifest(tmp_path)

    return load


@pytest.fixture
def tree(tmp_path):
    """Return a function that writes files into a tree and returns its root."""
    root = tmp_path / "tree"
    root.mkdir(mode=0o755)

    def write(files):
        write_tree(root, files)
        return root

    return write
