"""Which names are refused, and as what."""

import pytest
from django.core.exceptions import ValidationError

from accounts.reserved_names import (
    LOOK_ALIKES,
    RESERVED_NAMES,
    find_skeleton,
    validate_not_reserved,
    validate_token_name,
)


@pytest.mark.parametrize("letter", LOOK_ALIKES)
def test_a_letter_looks_like_those_of_other_alphabets(letter):
    others = f"{LOOK_ALIKES[letter]}{letter.upper()}{letter}\u0301"
    assert {find_skeleton(other) for other in others.replace("\u0301", "")} == {
        find_skeleton(letter)
    }
    assert find_skeleton(f"{letter}\u0301") == find_skeleton(letter)


@pytest.mark.parametrize("sigma", ["\u03f2", "\u03f9"])
def test_a_lunate_sigma_looks_like_a_c(sigma):
    assert find_skeleton(sigma) == find_skeleton("c")


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_reserved_name_is_refused_in_any_capitalization(name):
    for written in (name, name.upper(), name.title()):
        for validate in (validate_not_reserved, validate_token_name):
            with pytest.raises(ValidationError) as refused:
                validate(written)
            assert refused.value.code == "name_reserved"
            assert refused.value.messages == [
                f"The name {written} is reserved for the audit trail. Choose another name."
            ]


def test_a_tokens_name_has_letters_digits_and_five_signs():
    validate_token_name("ci.a@b+c-d_9")
    with pytest.raises(ValidationError) as refused:
        validate_token_name("a b")
    assert refused.value.code == "name_malformed"
    message = "A token's name may contain letters, digits and @ . + - _ only."
    assert refused.value.messages == [message]
