"""The key that signs who looks at a preview."""

from host import config as configuration
from host.app import environment
from host.app.resources import user_header

RUN = "11111111-2222-3333-4444-555555555555"
SETTINGS = {"SECRET_KEY": "s" * 40}


def test_each_run_and_each_installation_has_its_own_key():
    keys = {
        user_header.derive_key(secret, run)
        for secret in (SETTINGS["SECRET_KEY"], "t" * 40)
        for run in (RUN, RUN.replace("1", "2"))
    }
    assert len(keys) == 4


def test_only_with_the_setting_a_preview_has_the_key_and_no_build_has_it():
    off = configuration.load(SETTINGS)
    assert user_header.build_variables(off, RUN) == {}
    on = configuration.load({**SETTINGS, "PREVIEW_USER_HEADER": "true"})
    variables = user_header.build_variables(on, RUN)
    assert variables == {"OROBOROS_USER_KEY": user_header.derive_key("s" * 40, RUN)}
    assert "OROBOROS_USER_KEY" not in environment.select_build_variables(on, variables)
