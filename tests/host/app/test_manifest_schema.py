"""The JSON Schema of oroboros.toml: published, documented, and as strict as the code."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from host.app import manifest_schema
from tests.host.app.test_manifest_loader import MISTAKES, WHOLE

DOCS = Path(__file__).parents[3] / "docs"


def test_the_published_schema_is_the_generated_one():
    """If not: python -m host.app.manifest_schema > docs/oroboros.schema.json."""
    assert json.loads((DOCS / "oroboros.schema.json").read_text()) == manifest_schema.json_schema()


def test_the_reference_documents_every_key():
    text = (DOCS / "reference" / "manifest.md").read_text()
    definitions = manifest_schema.json_schema()["$defs"]
    for table in manifest_schema.json_schema()["properties"]:
        assert f"[{table}]" in text
    for name in ("Frontend", "Backend", "Database", "CheckTable"):
        for key in definitions[name]["properties"]:
            assert f"`{key}`" in text


VALIDATOR = jsonschema.Draft202012Validator(manifest_schema.json_schema())


@pytest.mark.parametrize("text", [WHOLE, ""])
def test_the_schema_accepts_a_valid_manifest(text):
    assert VALIDATOR.is_valid(tomllib.loads(text))


@pytest.mark.parametrize("text", [text for text, _, _ in MISTAKES[1:]])
def test_the_schema_rejects_every_mistake(text):
    assert not VALIDATOR.is_valid(tomllib.loads(text))
