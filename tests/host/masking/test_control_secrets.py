"""The secrets of the control plane's own settings, and that masks know them."""

from dataclasses import replace

import pytest

from host import config
from host.masking import control_secrets, known_secrets
from host.masking.masks import MASK
from ops import stack

GITHUB = "ghp_Zq8Lw2Xc5Vb7Nm1Kj4Hg"


@pytest.fixture
def conf(tmp_path):
    values = {"OROBOROS_VAR": str(tmp_path / "var"), "OROBOROS_ENV_DIR": str(tmp_path)}
    return config.load(values)


def is_masked(conf, secret, **settings):
    masks = known_secrets.read_masks(replace(conf, environ={**conf.environ, **settings}))
    return masks.mask(f"It is {secret}.") == f"It is {MASK}."


@pytest.mark.parametrize("name", control_secrets.FILES)
def test_each_line_of_a_secrets_file_is_masked_from_the_moment_it_is_there(conf, tmp_path, name):
    path = tmp_path / "secret"
    assert not is_masked(conf, "correcthorse", **{name: str(path)})
    path.write_text("-----BEGIN KEY-----\ncorrecthorse\nhttps://ci:battery%40@git.example\n")
    for secret in ("correcthorse", "battery@", "battery%40"):
        assert is_masked(conf, secret, **{name: str(path)})
    path.write_text("staple-7\n")
    assert is_masked(conf, "staple-7", **{name: str(path)})
    assert not is_masked(conf, "staple-7")


@pytest.mark.parametrize("name", control_secrets.ADDRESSES)
def test_the_password_of_a_settings_address_is_masked_and_the_rest_is_not(conf, name):
    value = {name: "postgresql://app:battery%40@db.example:5432/app"}
    assert is_masked(conf, "battery@", **value)
    assert not is_masked(conf, "db.example", **value)
    assert known_secrets.read_masks(replace(conf, environ=value)).mask(value[name]) == (
        f"postgresql://app:{MASK}@db.example:5432/app"
    )


@pytest.mark.parametrize("file", config.CONTROL_FILES)
def test_what_is_written_to_an_env_file_is_masked_before_the_next_start(conf, tmp_path, file):
    (tmp_path / file).write_text("SECRET_KEY=a-new-key-4711\nPREVIEW_LABEL=some-label\n")
    assert is_masked(conf, "a-new-key-4711")
    assert not is_masked(conf, "some-label")


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("postgresql://app:s3cr3t@h/d", {"s3cr3t"}),
        ("http://a/,https://u:p%40ss@b/ c", {"p%40ss", "p@ss"}),
        ("https://ada:s3cr@t@g.example/a.git", {"s3cr@t"}),
        (f"https://{GITHUB}@g.example/a.git", {GITHUB}),
        (f"https://{GITHUB}:x-oauth-basic@g.example/a.git", {GITHUB}),
        ("https://ada@g.example/a.git", set()),
        ("ssh://a-user-with-a-long-name@g.example/a.git", set()),
        # A mask in place of these would make logs unreadable.
        ("postgresql://oroboros:oroboros@h/d", set()),
        ("postgresql://app:password@h/d", set()),
        ("ann@example.com", set()),
    ],
)
def test_which_part_of_an_address_is_a_secret(text, secrets):
    assert set(control_secrets.find_address_secrets(text)) - {""} == secrets


def test_a_proxys_password_of_the_environment_is_masked(conf):
    assert is_masked(conf, "sesame-4711", HTTPS_PROXY="http://ann:sesame-4711@proxy.example")


def test_the_superusers_password_of_the_embedded_postgresql_is_masked(conf):
    cluster = stack.get_cluster(conf)
    cluster.folder.mkdir(parents=True)
    assert is_masked(conf, cluster.password)
