"""Which values of an environment are masked, and for how long they are known."""

from dataclasses import replace

import pytest

from host import config
from host.app.environment import ResolvedEnvironment, Variable
from host.masking import known_secrets
from host.masking.masks import MASK
from host.operator_settings import variable_files
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


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "env"
    folder.mkdir()
    return folder


@pytest.fixture
def conf(tmp_path, files):
    return config.load({"OROBOROS_VAR": str(tmp_path / "var"), "OROBOROS_ENV_DIR": str(files)})


@pytest.mark.parametrize("name", config.APPLICATION_FILES)
def test_a_value_is_masked_from_the_moment_it_is_in_a_file(conf, files, name):
    text = "It is sk_live_51HxY, of production."
    assert known_secrets.read_masks(conf).mask(text) == text
    (files / name).write_text("PAYMENT=sk_live_51HxY\nMODE=production\n")
    assert known_secrets.read_masks(conf).mask(text) == f"It is {MASK}, of production."
    (files / name).write_text("PAYMENT=sk_live_62JyZ0\n")
    assert known_secrets.read_masks(conf).mask("sk_live_62JyZ0") == MASK
    # A file that no process can be started with has no values, and is no reason to fail.
    (files / name).write_text("PAYMENT=sk_live_51HxY\nno assignment\n")
    assert known_secrets.read_masks(conf).mask(text) == text


def test_the_values_of_one_file_are_masked_beside_an_unreadable_one(conf, files):
    (files / "worker-preview.env").mkdir()
    (files / "app.env").write_text("PAYMENT=sk_live_51HxY\n")
    assert known_secrets.read_masks(conf).mask("sk_live_51HxY") == MASK


def test_a_value_stays_masked_after_its_change_and_its_removal(conf):
    production = variable_files.find_file("production")
    for value in ("first-value-1", "second-value-2", None):
        variable_files.write_variable(conf, production, "PAYMENT", value)
    masks = known_secrets.read_masks(conf)
    assert [masks.mask(one) for one in ("first-value-1", "second-value-2")] == [MASK, MASK]


def test_a_registrys_password_is_masked_everywhere_after_an_install_could_read_it(conf):
    index = "https://ann:sesame-4711@packages.example.com/simple"
    with_index = replace(conf, environ={**conf.environ, "PIP_INDEX_URL": index})
    assert known_secrets.read_install_masks(with_index).mask("sesame-4711") == MASK
    assert known_secrets.read_masks(conf).mask("sesame-4711") == MASK
