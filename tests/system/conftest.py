"""One installed stack for all tests of this folder, which run in the order of the file."""

import pytest

from tests.system.host import Host


@pytest.fixture(scope="session")
def host():
    """Return a copy of this checkout; the first test starts its stack."""
    host = Host()
    try:
        yield host
    finally:
        host.close()
