"""Extensions that a manifest asks for: in the preview, in the merge gate and in production."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from slots.runtime import database_commands
from tests.runs.pipelines.shipping import tiny

FILES = {
    "oroboros.toml": '[checks]\nquick = "true"\n[database]\nextensions = ["citext"]\n',
}


@pytest.fixture
def place(small):
    """The small host; its main is the original application afterwards."""
    yield small
    small.commit("main", tiny.files(small.folder))


def list_extensions(config, database):
    url = make_conninfo(config.preview_admin_database_url, dbname=database)
    with psycopg.connect(url) as session:
        rows = session.execute("SELECT extname FROM pg_extension").fetchall()
    return {name for (name,) in rows}


@pytest.mark.full
def test_an_extension_of_the_manifest_exists_in_previews_and_in_production(
    place, ready_small, ships
):
    config, slot = place.config, place.config.slots[0]
    ready_small("extension/first", FILES)
    assert "citext" in list_extensions(config, slot.database)
    database_commands.reset(config, slot)
    assert "citext" in list_extensions(config, slot.database)
    shipped = ships("extension/second", FILES)
    assert shipped.status == "merged", shipped.failure_detail
    assert "citext" in list_extensions(config, config.production_database)
