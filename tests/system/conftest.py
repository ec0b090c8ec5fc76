"""One host for all of these tests: they tell one story, in the order of the file."""

import pytest

from tests.system.host import Host


@pytest.fixture(scope="session")
def host():
    made = Host()
    try:
        yield made
    finally:
        made.close()
