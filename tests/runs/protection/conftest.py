"""A protected preview behind the real router, and a browser."""

import pytest

from accounts.tokens import create_token
from tests.runs.admin.browser import chromium
from tests.runs.protection.stack import load_config, running_stack

__all__ = ["chromium"]


@pytest.fixture
def protected(open_path, transactional_db):
    with running_stack(open_path, PREVIEW_PROTECTION="protected") as stack:
        yield stack


@pytest.fixture
def telling(open_path, transactional_db):
    """As `protected`; the application is told who looks, and WebSockets end soon."""
    with running_stack(
        open_path,
        PREVIEW_PROTECTION="protected",
        PREVIEW_WEBSOCKET_SECONDS="4",
        PREVIEW_USER_HEADER="true",
    ) as stack:
        yield stack


@pytest.fixture
def open_config(open_path):
    return load_config(open_path)


@pytest.fixture
def token(transactional_db):
    return create_token("e2e", ["preview"], created_by="ann")
