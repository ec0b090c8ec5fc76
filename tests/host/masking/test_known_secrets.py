"""Which values of an environment are masked, and for how long they are known."""

import pytest

from host import config
from host.app.environment import ResolvedEnvironment, Variable
from host.masking import known_secrets
from host.masking.masks import MASK
from host.units import managers


def resolve(*variables):
    return ResolvedEnvironment(variables)


@pytest.mark.parametrize(
    ("name", "value", "origin", "is_selected"),
    [
        ("PAYMENT", "sk_live_51HxY", "worker-preview.env", True),
        ("DB_PASSWORD", "correcthorse", "worker-preview.env", True),
        ("MODE", "production", "worker-preview.env", False),
        ("OROBOROS_SECRET", "1f" * 32, "oroboros", True),
        ("PGPASSWORD", "abcdefghij", "oroboros", True),
        ("DATABASE_URL", "postgres://a:abcdefghij@h/d", "oroboros", False),
        ("AUTH_BACKEND", "django", "app.json", False),
        ("SESSION_KEY", "c29tZS1ieXRlcw", "app.json, generated", True),
    ],
)
def test_which_values_are_masked(name, value, origin, is_selected):
    resolved = resolve(Variable(name, value, origin, secret=True))
    assert (name in known_secrets.select_secrets(resolved)) == is_selected


def test_a_new_password_keeps_the_ones_before_masked_for_a_while(tmp_path):
    conf = config.load({"OROBOROS_VAR": str(tmp_path)})
    for number in range(5):
        variable = Variable("PGPASSWORD", f"password-{number}", "oroboros", secret=True)
        known_secrets.remember_secrets(conf, "preview-1", resolve(variable))
    masks = known_secrets.read_masks(conf)
    assert [masks.mask(f"password-{number}") == MASK for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    [path] = tmp_path.rglob("known-secrets")
    assert managers.get_manager(conf).list_names() == []
    assert path.stat().st_mode & 0o777 == 0o600
