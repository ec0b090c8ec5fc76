"""Masking of secrets: every spelling, and streams that are cut anywhere."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.masking.masks import MASK, NO_MASKS, create_masks

SECRETS = ["sk_live_51HxY", "p@ss/w\"rd'<&>", "sk_live_51HxY-longer"]
PARTS = st.lists(st.sampled_from([*SECRETS, "sk_live_", "p@ss", " text ", "\n", "sk_live_51Hx"]))


@given(PARTS, st.data())
def test_a_stream_that_is_cut_anywhere_is_masked_as_a_whole_one(parts, data):
    masks = create_masks(SECRETS)
    raw = "".join(parts).encode()
    left, masked = b"", b""
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        left, raw = left + raw[:size], raw[size:]
        complete = masks.split_complete(left)
        masked, left = masked + masks.mask_bytes(left[:complete]), left[complete:]
    masked += masks.mask_bytes(left)
    assert masked == masks.mask_bytes("".join(parts).encode())
    assert not any(secret.encode() in masked for secret in SECRETS)


@pytest.mark.parametrize("spell", [str, json.dumps, quote, repr, lambda s: quote(s, safe="")])
@pytest.mark.parametrize("secret", SECRETS)
def test_each_spelling_of_a_secret_is_masked(secret, spell):
    text = create_masks([secret]).mask(f"before {spell(secret)} after")
    assert MASK in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert secret[2:-2] not in text


def test_the_password_of_an_address_is_masked_wherever_it_occurs():
    masks = create_masks(["postgres://app:hunter%402@db/app"])
    assert masks.mask("password hunter@2, hunter%402") == f"password {MASK}, {MASK}"


def test_each_line_of_a_secret_is_masked_and_the_lines_around_a_key_are_not():
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"
    masked = create_masks([key]).mask("  MIIEvQIBADANBg\n-----BEGIN PRIVATE KEY-----")
    assert masked == f"  {MASK}\n-----BEGIN PRIVATE KEY-----"


@pytest.mark.parametrize("short", ["", "true", "12345", "     "])
def test_a_short_value_is_not_masked(short):
    assert create_masks([short]) == NO_MASKS


def test_the_strings_of_json_values_are_masked():
    masks = create_masks(["sk_live_51HxY"])
    data = {"a": ["x sk_live_51HxY", 1, None], "b": {"c": "sk_live_51HxY"}}
    assert masks.mask_data(data) == {"a": [f"x {MASK}", 1, None], "b": {"c": MASK}}
