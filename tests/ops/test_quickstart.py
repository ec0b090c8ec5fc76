"""What quickstart says of the forge before it starts the stack."""

from host import config as configuration
from ops.quickstart import describe_forge


def describe(**environ):
    return list(describe_forge(configuration.load(environ)))


def test_without_a_forge_nothing_is_said():
    assert describe() == []


def test_a_wrong_setting_of_the_forge_is_said_with_its_remedy():
    [said] = describe(FORGE="github", FORGE_REPOSITORY="")
    assert said.startswith("forge: ") and "FORGE_REPOSITORY" in said
    assert "docs/forges.md" in said


def test_a_forge_that_does_not_answer_is_said_and_that_its_webhooks_come_later_is_not(tmp_path):
    for name in ("token", "secret"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    said = describe(
        FORGE="gitlab",
        FORGE_URL="http://127.0.0.1:1",
        FORGE_REPOSITORY="team/shop",
        FORGE_TOKEN_FILE=str(tmp_path / "token"),
        FORGE_WEBHOOK_SECRET_FILE=str(tmp_path / "secret"),
    )
    assert "forge: gitlab, team/shop" in said
    [token] = [one for one in said if one.startswith("forge's token: ")]
    assert "did not answer" in token and "FORGE_TOKEN_FILE" in token
    assert not any(one.startswith("webhook: ") for one in said)
