"""What each rule of the settings accepts, up to its bounds, and the sentence of its refusal."""

import pytest

from host.errors import Refused
from host.settings_rules import (
    BOOLEANS,
    CHOICES,
    NUMBERS,
    check_values,
    name_files,
    read_boolean,
    read_choice,
    read_integer,
    read_networks,
    read_origins,
    require_secrets,
)

URL = "postgresql://role:password@127.0.0.1:5432/app"
CLIENT = {"OIDC_CLIENT_ID": "oroboros"}


def refuse(function, *arguments):
    """Return what the refusal of the function says."""
    with pytest.raises(Refused) as refused:
        function(*arguments)
    assert refused.value.code == "setting_invalid"
    return refused.value.detail


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_taken_from_its_lowest_to_its_highest_value(name):
    low, high = NUMBERS[name]
    for number in (low, high):
        assert read_integer({name: str(number)}, name, 7) == number
    for number in (low - 1, high + 1):
        expected = f"{name} must be a whole number from {low} to {high}, not '{number}'."
        assert refuse(read_integer, {name: str(number)}, name, 7) == expected
    assert read_integer({}, name, 7) == read_integer({name: ""}, name, 7) == 7


def test_a_number_has_at_most_19_ascii_digits():
    name = "OROBOROS_SLOTS"
    assert read_integer({name: f"{'0' * 18}5"}, name, 7) == 5
    for value in (f"{'0' * 19}5", "٣", "+3"):
        assert value in refuse(read_integer, {name: value}, name, 7)


@pytest.mark.parametrize("name", BOOLEANS)
def test_a_boolean_has_words_for_both(name):
    for word in ("true", "on", "ok", "y", "yes", "1", "TRUE"):
        assert read_boolean({name: word}, name) is True
    for word in ("false", "off", "n", "no", "0", "No"):
        assert read_boolean({name: word}, name, True) is False
    assert read_boolean({}, name) is read_boolean({name: ""}, name) is False
    assert read_boolean({}, name, True) is True
    detail = refuse(read_boolean, {name: "Maybe"}, name)
    assert detail == f"{name} must be true or false, not 'maybe'."


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_one_of_its_words_the_first_without_one(name):
    choices = CHOICES[name]
    assert [read_choice({name: word}, name) for word in choices] == list(choices)
    assert read_choice({}, name) == read_choice({name: ""}, name) == choices[0]
    detail = refuse(read_choice, {name: "other"}, name)
    assert detail == f"{name} must be {' or '.join(choices)}, not 'other'."


def test_lists_are_separated_by_commas_and_blanks():
    origins = "https://a.example, http://b.example:8080\nhttps://c.example,"
    assert read_origins({"X": origins}, "X") == [
        "https://a.example",
        "http://b.example:8080",
        "https://c.example",
    ]
    detail = refuse(read_origins, {"X": "https://a.example/path"}, "X")
    assert detail == "X: write 'https://a.example/path' as https://app.example.com, no path."
    networks = {"X": "10.1.0.0/16,fd00::/8 192.0.2.1"}
    assert read_networks(networks, "X") == ["10.1.0.0/16", "fd00::/8", "192.0.2.1"]
    detail = refuse(read_networks, {"X": "10.1.0.0/16 10.1.0.1/16"}, "X")
    assert detail == "X must be networks such as 10.1.0.0/16, not '10.1.0.1/16'."
    assert read_origins({}, "X") == read_networks({}, "X") == []


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"DATABASE_URL": URL},
        {"DATABASE_URL": "postgres://h/d"},
        {"DATABASE_URL": "psql://h/d"},
        {"TIME_ZONE": "Europe/Berlin"},
        {"OROBOROS_DOMAIN": "a.example"},
        {"OROBOROS_HOST": f"a{'b' * 250}c"},
        {"OROBOROS_PUBLIC": "true", "OROBOROS_DOMAIN": "a.example"},
        {"OROBOROS_PUBLIC": "false"},
        {"ACME_DIRECTORY": "https://ca.example.com/acme/directory"},
        {"ACME_CA_ROOT": "/etc/ca.pem"},
        {"ACME_EMAIL": "ann@example.com"},
        {"OIDC_ISSUER": "https://id.example.com/realm", **CLIENT},
        *({"OIDC_ISSUER": f"http://{host}:1/x", **CLIENT} for host in ("localhost", "127.0.0.1")),
        {"OIDC_ISSUER": "http://[::1]:1/x", **CLIENT},
        {"PASSWORD_SIGN_IN": "true"},
        {"PASSWORD_SIGN_IN": "false", "OIDC_ISSUER": "https://id.example.com", **CLIENT},
    ],
)
def test_right_values_are_taken(values):
    check_values(values)


ISSUER = "OIDC_ISSUER must be the https:// address that the provider names, not "
DATABASE = "DATABASE_URL must be postgresql://role:password@host:port/database."


@pytest.mark.parametrize(
    ("values", "detail"),
    [
        ({"DATABASE_URL": "mysql://h/d"}, DATABASE),
        ({"DATABASE_URL": "postgresql://h:0/d"}, DATABASE),
        ({"DATABASE_URL": "postgresql://h:port/d"}, DATABASE),
        ({"TIME_ZONE": "Mars"}, "TIME_ZONE must be a time zone such as Europe/Berlin, not 'Mars'."),
        (
            {"OROBOROS_HOST": f"a{'b' * 251}c"},
            f"OROBOROS_HOST must be a name of letters, digits, dots and hyphens, "
            f"not 'a{'b' * 251}c'.",
        ),
        (
            {"OROBOROS_PUBLIC": "true"},
            "OROBOROS_PUBLIC needs OROBOROS_DOMAIN: the domain whose names lead to this host.",
        ),
        ({"ACME_EMAIL": "ann"}, "ACME_EMAIL must be an e-mail address, not 'ann'."),
        (
            {"CORS_APP_ORIGINS": "x"},
            "CORS_APP_ORIGINS: write 'x' as https://app.example.com, no path.",
        ),
        (
            {"NOTIFICATION_NETWORKS": "x"},
            "NOTIFICATION_NETWORKS must be networks such as 10.1.0.0/16, not 'x'.",
        ),
        *(
            ({"OIDC_ISSUER": issuer, **CLIENT}, f"{ISSUER}{issuer!r}.")
            for issuer in (
                "http://id.example.com",
                "https://",
                "https://id.example.com/?a=1",
                "https://id.example.com/#a",
                "https://[",
            )
        ),
        (
            {"OIDC_ISSUER": "https://id.example.com"},
            "OIDC_ISSUER needs OIDC_CLIENT_ID, as the provider shows it.",
        ),
        (
            {"PASSWORD_SIGN_IN": "false"},
            "PASSWORD_SIGN_IN=false needs OIDC_ISSUER: there would be no way to log in.",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(values, detail):
    assert refuse(check_values, values) == detail


def test_each_wrong_value_has_its_sentence():
    with pytest.raises(Refused) as refused:
        check_values({"OROBOROS_SLOTS": "0", "DEBUG": "x", "PREVIEW_TTL_SECONDS": "60"})
    slots = "OROBOROS_SLOTS must be a whole number from 1 to 64, not '0'."
    debug = "DEBUG must be true or false, not 'x'."
    assert refused.value.fields == {"OROBOROS_SLOTS": slots, "DEBUG": debug}
    assert refused.value.detail == f"{slots} {debug}"


def test_the_files_that_have_a_wrong_value_are_named():
    refused = Refused("setting_invalid", "A is wrong.", fields={"A": "A is wrong."})
    values = {"A": "1", "B": "2"}
    stored = {"/a": {"A": "1"}, "/b": {"A": "0"}, "/c": {"B": "2"}, "/d": {"A": "1", "B": "2"}}
    named = name_files(refused, values, stored)
    assert (named.code, named.fields) == (refused.code, refused.fields)
    assert named.detail == "A is wrong. Correct it in /a, /d, then ./scripts/apply-settings.sh"
    assert name_files(refused, values, {"/b": {"A": "0"}}) is refused


WEAK = "SECRET_KEY looks like a placeholder: set 32 or more random characters."
NOT_SET = (
    "SECRET_KEY is not set: run ./scripts/quickstart.sh, which writes it to "
    "var/env/api.env, or set it there."
)


@pytest.mark.parametrize(
    ("secret", "code"),
    [
        ("x" * 32, ""),
        ("x" * 31, "env_secret_weak"),
        (f"ChangeMe{'x' * 40}", "env_secret_weak"),
        (f"django-insecure{'x' * 40}", "env_secret_weak"),
        ("", "not_set_up"),
    ],
)
def test_a_secret_key_has_32_characters_and_is_no_placeholder(secret, code):
    values = {"SECRET_KEY": secret, "DATABASE_URL": URL}
    if not code:
        require_secrets(values)
        return
    with pytest.raises(Refused) as refused:
        require_secrets(values)
    assert refused.value.code == code
    assert refused.value.detail == {"env_secret_weak": WEAK, "not_set_up": NOT_SET}[code]
