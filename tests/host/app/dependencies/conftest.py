"""Trees whose dependencies are planned, and installed for real in the long tests."""

import os
import tempfile
from pathlib import Path

import pytest

from host import config
from host.app import installs
from host.app.application import read_application
from host.app.command_runner import CommandFailed


class Project:
    """A tree, and what is installed for it."""

    def __init__(self, folder):
        self.root = folder / "tree"
        self.root.mkdir(mode=0o755)
        self.log = folder / "log"
        (folder / "var").mkdir(mode=0o755)
        values = {
            "OROBOROS_VAR": str(folder / "var"),
            "OROBOROS_ENV_DIR": str(folder / "env"),
            # An install kills all processes of its uid: another test run must not have the same.
            "OROBOROS_UID_BASE": str(100000 + 100 * (os.getpid() % 5000)),
            "SECRET_KEY": "x" * 50,
        }
        network = installs.environment.build_install_environment(
            config.load(dict(os.environ)), home=folder
        )
        # This machine's registries, as for every install.
        self.config = config.load({**network, **values})

    def write(self, **files):
        """Write files, by their paths."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def read(self, **options):
        return read_application(self.config, self.root, None, **options)

    def install(self, **options):
        """Install, and return the application."""
        app = self.read(**options)
        try:
            app.install(log=self.log)
        except CommandFailed:
            pytest.fail(self.log.read_text())
        return app


@pytest.fixture
def project():
    """A project in a folder that other uids can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="oroboros-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield Project(folder)
        installs.ownership.delete_tree(folder / "var")
