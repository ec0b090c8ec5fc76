"""Settings that operators change at run time: what wins, what is refused, and what a page shows."""

from dataclasses import replace

import pytest

from host import config as configuration
from host.errors import Refused
from host.masking import control_secrets
from host.operator_settings import run_time, sources

NAME = run_time.REQUIRED_COUNT


@pytest.fixture
def config(tmp_path):
    env = tmp_path / "env"
    env.mkdir()
    environ = {"OROBOROS_VAR": str(tmp_path), "OROBOROS_ENV_DIR": str(env)}
    return configuration.load(environ)


def find(config, name):
    return next(one for one in sources.list_settings(config) if one.name == name)


def test_a_change_is_in_effect_at_once_and_can_be_taken_back(config):
    assert run_time.read_in_effect(config) == {}
    assert run_time.write_value(config, NAME, "2") == ""
    assert run_time.write_value(config, run_time.SELF_APPROVAL, "forbidden") == ""
    assert run_time.read_in_effect(config) == {NAME: "2", run_time.SELF_APPROVAL: "forbidden"}
    assert run_time.stored_path(config).stat().st_mode & 0o777 == 0o600
    setting = find(config, NAME)
    assert (setting.value, setting.source, setting.may_change) == ("2", sources.RUN_TIME, True)
    assert run_time.write_value(config, NAME, "") == "2"
    assert run_time.read_in_effect(config) == {run_time.SELF_APPROVAL: "forbidden"}
    assert (find(config, NAME).value, find(config, NAME).source) == ("1", sources.DEFAULT)


def test_each_setting_is_read_from_one_of_three_places_and_a_wrong_value_is_refused(config):
    def read(name, of=config):
        if name in (run_time.PREVIEW_TTL, run_time.REQUIRED_COUNT):
            return str(run_time.read_number(of, name))
        if name == run_time.FREEZE_AFTER_ROLLBACK:
            return str(run_time.read_boolean(of, name)).lower()
        return run_time.read_text(of, name)

    values = ("7", "2", "forbidden", "required", "false", "auto", "dry-run")
    given = dict(zip(run_time.NAMES, values, strict=True))
    for name, value in given.items():
        assert (read(name), run_time.is_set(config, name)) == (run_time.DEFAULTS[name], False)
        assert run_time.DEFAULTS[name] == find(config, name).default
        run_time.write_value(config, name, value)
        assert (read(name), run_time.is_set(config, name)) == (value, True)
        fixed = replace(config, environ={**config.environ, name: run_time.DEFAULTS[name]})
        assert read(name, fixed) == run_time.DEFAULTS[name]
    for name in given.keys() - {run_time.PUSH_MODE}:  # shipping checks that one
        wrong = replace(config, environ={**config.environ, name: "perhaps"})
        with pytest.raises(Refused, match=name):
            read(name, wrong)


def test_an_env_file_wins_and_its_value_cannot_be_changed_here(config):
    run_time.write_value(config, NAME, "2")
    path = config.env_dir / "worker.env"
    path.write_text(f"{NAME}=3\n")
    fixed = replace(config, environ={**config.environ, NAME: "3"})
    assert run_time.read_in_effect(fixed) == {}
    setting = find(fixed, NAME)
    assert (setting.value, setting.source, setting.unused) == ("3", str(path), "2")
    assert not setting.may_change
    with pytest.raises(Refused) as refused:
        run_time.write_value(fixed, NAME, "1")
    assert refused.value.code == "set_elsewhere"
    path.unlink()
    assert find(fixed, NAME).source == sources.ENVIRONMENT


def test_a_value_that_was_changed_in_a_file_and_not_applied_is_named_as_that(config):
    path = config.env_dir / "api.env"
    path.write_text("TOKEN_LIFETIME_DAYS=30\n")
    changed = f"{path}, changed since the start: run ./scripts/apply-settings.sh"
    setting = find(config, "TOKEN_LIFETIME_DAYS")
    assert (setting.value, setting.source) == ("90", changed)
    before = replace(config, environ={**config.environ, "TOKEN_LIFETIME_DAYS": "60"})
    setting = find(before, "TOKEN_LIFETIME_DAYS")
    assert (setting.value, setting.source) == ("60", changed)


def test_no_two_settings_have_the_same_meaning():
    example = (configuration.HOME / ".env.example").read_text()
    meanings = [one.meaning for one in sources.parse_example(example)]
    assert [one for one in set(meanings) if meanings.count(one) > 1] == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        (NAME, "0", "setting_invalid"),
        (NAME, "2\nSECRET_KEY=x", "setting_invalid"),
        (run_time.PREVIEW_TTL, "4h", "setting_invalid"),
        (run_time.FREEZE_AFTER_ROLLBACK, "perhaps", "setting_invalid"),
        (run_time.PRECHECK, "always", "setting_invalid"),
        ("SECRET_KEY", "x" * 40, "setting_not_changeable"),
    ],
)
def test_a_wrong_change_is_refused_and_nothing_is_written(config, name, value, code):
    with pytest.raises(Refused) as refused:
        run_time.write_value(config, name, value)
    assert refused.value.code == code
    assert not run_time.stored_path(config).exists()


def test_a_stored_value_that_is_wrong_is_refused_and_not_ignored(config):
    run_time.write_value(config, NAME, "2")
    run_time.stored_path(config).write_text(f"{NAME}=none\n")
    with pytest.raises(Refused, match=NAME):
        run_time.read_in_effect(config)


def test_secrets_are_hidden_and_every_setting_has_a_meaning(config, tmp_path):
    url = "postgresql://role:sesame@127.0.0.1/db"
    (tmp_path / "secret").write_text("sesame\n")
    environ = {
        **config.environ,
        **dict.fromkeys(control_secrets.VALUES, "sesame" * 8),
        **dict.fromkeys(control_secrets.ADDRESSES, url),
        **dict.fromkeys(control_secrets.FILES, str(tmp_path / "secret")),
        # Of a setting that is none of these, too.
        "DEPLOY_BACKEND_RELOAD_CMD": "curl https://ci:sesame@hooks.example/reload",
    }
    environ["GIT_REMOTE_URL"] = "https://sesame@git.example/team/app.git"
    found = {one.name: one for one in sources.list_settings(replace(config, environ=environ))}
    assert found["DATABASE_URL"].value == "postgresql://role@127.0.0.1/db"
    assert found["SECRET_KEY"].value == "******"
    assert found["GIT_REMOTE_URL"].value == "https://git.example/team/app.git"
    assert "sesame" not in str(found.values())
    assert set(run_time.NAMES) <= set(found)
    assert [one.name for one in found.values() if not one.meaning] == []
    assert found["APPROVAL_CODEOWNERS"].meaning.startswith("Whether owners")
    assert found["ALLOWED_HOSTS"].meaning == "The host names that the control plane accepts."
    assert found["OROBOROS_SLOTS"].section == "the control plane"
