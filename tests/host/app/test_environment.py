"""environment.py: what passes, what never does, and where each value came from."""

from pathlib import Path

import pytest

from host import config
from host.app import environment
from host.app.environment_policy import RESERVED_NAMES
from host.app.manifest import Manifest
from host.app.resources import mail
from host.errors import Refused

SECRET = "the-control-planes-own-secret-key-0123456789"
LABEL = "feature-x-1a2b3c"
URL = "postgresql://app_preview_1:p%40ss-w0rd@127.0.0.1:54329/app_preview_1"
HOME = Path("/private")
BINS = [Path("/cache/python-1/.venv/bin"), Path("/cache/node-1/node_modules/.bin")]


@pytest.fixture
def build(tmp_path):
    """Build a slot's environment from an operator's file, settings and a manifest's parts."""

    def make(file="", settings=None, purpose="preview-1", **parts):
        (tmp_path / "worker-preview.env").write_text(file)
        conf = config.load(
            {
                "OROBOROS_ENV_DIR": str(tmp_path),
                "SECRET_KEY": SECRET,
                "DATABASE_URL": "postgresql://oroboros:control-pw@127.0.0.1/oroboros",
                "PREVIEW_ADMIN_DATABASE_URL": "postgresql://admin:admin-pw@127.0.0.1/postgres",
                "AWS_SECRET": "inherited",
                **(settings or {}),
            }
        )
        given = environment.build_slot_variables(
            conf, conf.slots[0], database_url=URL, run_id="run-1", commit="c" * 40, label=LABEL
        )
        return environment.build_environment(
            conf, given, Manifest(**parts), home=HOME, bins=BINS, purpose=purpose
        )

    return make


TEMPLATE = "postgresql+psycopg://someone@127.0.0.1:54329/{db_name}"


def masked(resolved):
    return {row["name"]: row["value"] for row in resolved.mask_secrets()}


def origins(resolved):
    return {row["name"]: row["origin"] for row in resolved.mask_secrets()}


def test_a_detected_variable_with_the_port_is_for_what_has_a_port(build):
    detected = {"PIDFILE": "/tmp/rails-$PORT.pid", "RACK_ENV": "production"}
    assert build(env_detected=detected).env["PIDFILE"] == "/tmp/rails-8101.pid"
    assert build(env_detected=detected, env={"PIDFILE": "mine"}).env["PIDFILE"] == "mine"
    without = environment.build_environment(
        config.load({"SECRET_KEY": SECRET}),
        {},
        Manifest(env_detected=detected),
        home=HOME,
        bins=BINS,
        purpose="x",
    )
    assert "PIDFILE" not in without.env and without.env["RACK_ENV"] == "production"


def test_an_environment_has_nothing_of_the_callers(build, monkeypatch):
    monkeypatch.setenv("FROM_THE_WORKER", "x")
    env = build().env
    assert not {"FROM_THE_WORKER", "AWS_SECRET", "SECRET_KEY"} & set(env)
    for secret in (SECRET, "control-pw", "admin-pw", "inherited"):
        assert not any(secret in value for value in env.values())


def test_a_slots_environment_has_port_database_and_addresses(build):
    env = build().env
    assert env["PORT"] == "8101"
    assert env["DATABASE_URL"] == URL
    assert (env["PGHOST"], env["PGPORT"], env["PGUSER"]) == ("127.0.0.1", "54329", "app_preview_1")
    assert (env["PGPASSWORD"], env["PGDATABASE"]) == ("p@ss-w0rd", "app_preview_1")
    assert env["FRONTEND_URL"] == f"http://{LABEL}.preview1.localhost:3101"
    assert env["OROBOROS_PREVIEW_URL"] == env["FRONTEND_URL"]
    assert env["BACKEND_URL"] == f"http://{LABEL}.preview1.localhost:8101"
    assert "http://127.0.0.1:3101" in env["CORS_ALLOWED_ORIGINS"].split(",")
    assert (
        env["OROBOROS_HOSTS"]
        == f"{LABEL}.preview1.localhost,preview1.localhost,127.0.0.1,localhost"
    )
    assert (env["OROBOROS_RUN"], env["OROBOROS_COMMIT"]) == ("run-1", "c" * 40)
    assert (env["SOURCE_VERSION"], env["NODE_ENV"]) == ("c" * 40, "production")
    assert "CI" not in env
    assert (env["HOME"], env["TMPDIR"]) == ("/private", "/private")


def test_cors_origins_include_those_of_the_operator():
    more = {"CORS_APP_ORIGINS": "https://shop.example, https://desk.example:8443"}
    conf = config.load(more)
    slot = environment.build_slot_variables(
        conf, conf.slots[0], database_url=URL, run_id="run-1", commit="c" * 40, label=LABEL
    )
    app = environment.build_production_variables(
        conf, port=1, database_url=URL, release_id="r", commit="c"
    )
    for given in (slot, app):
        origins = given["CORS_ALLOWED_ORIGINS"].split(",")
        assert origins[-2:] == ["https://shop.example", "https://desk.example:8443"]
        assert "shop.example" not in given["OROBOROS_HOSTS"]


@pytest.mark.parametrize(
    "origin", ["shop.example", "https://shop.example/", "*", "null", "https://a|.*"]
)
def test_an_invalid_origin_is_refused(origin):
    with pytest.raises(Refused) as refusal:
        config.load({"CORS_APP_ORIGINS": origin}).app_origins  # noqa: B018
    assert refusal.value.code == "setting_invalid"


def test_an_environment_without_a_slot_has_productions_addresses():
    """An `[env]` that names them is whole in a build, a check and a template's migrations too."""
    conf = config.load(
        {"OROBOROS_HTTPS": "1", "OROBOROS_DOMAIN": "shop.example", "SECRET_KEY": "k"}
    )
    says = Manifest(env={"SITE_URL": "${FRONTEND_URL}"})
    resolved = environment.build_environment(conf, {}, says, home=HOME, purpose="template")
    assert resolved.env["SITE_URL"] == "https://app.shop.example"
    assert resolved.notes == ()


def test_the_applications_own_programs_go_first_on_path(build):
    env = build().env
    assert env["PATH"].split(":")[:2] == [str(folder) for folder in BINS]
    assert env["VIRTUAL_ENV"] == "/cache/python-1/.venv"


def test_productions_environment_has_its_own_port_address_and_release(tmp_path):
    conf = config.load({"OROBOROS_HTTPS": "1", "OROBOROS_DOMAIN": "shop.example"})
    given = environment.build_production_variables(
        conf, port=8110, database_url=URL, release_id="r-1", commit="c"
    )
    assert given["PORT"] == "8110"
    assert given["FRONTEND_URL"] == "https://app.shop.example"
    assert given["OROBOROS_RELEASE"] == "r-1"
    assert "OROBOROS_SLOT" not in given


def test_builds_of_slots_and_releases_have_the_same_names_and_no_database():
    conf = config.load({"SECRET_KEY": "k", "PREVIEW_BACKEND_DATABASE_URL_TEMPLATE": TEMPLATE})
    slot = environment.build_slot_variables(
        conf,
        conf.slots[0],
        database_url=URL,
        run_id="run-1",
        commit="c",
        branch="try/x",
        label=LABEL,
    )
    app = environment.build_production_variables(
        conf, port=8110, database_url="", release_id="r-1", commit="c"
    )
    built = [
        environment.build_environment(
            conf,
            environment.select_build_variables(conf, given),
            Manifest(),
            home=HOME,
            purpose="build",
            stage="build",
        ).env
        for given in (slot, app)
    ]
    assert set(built[0]) == set(built[1])
    for env in built:
        assert env["DATABASE_URL"].startswith("postgresql+psycopg://no_database_in_builds:")
        assert env["DATABASE_URL"].endswith("@127.0.0.1:54329/no_database_in_builds")
        assert (env["CI"], env["NODE_ENV"]) == ("1", "production")
    assert (built[0]["OROBOROS_BRANCH"], built[1]["OROBOROS_BRANCH"]) == ("try/x", "main")


@pytest.mark.parametrize(
    ("stage", "ci", "node"),
    [("run", None, "production"), ("build", "1", "production"), ("check", "1", None)],
)
def test_a_stage_has_its_own_variables(stage, ci, node):
    conf = config.load({"SECRET_KEY": "k"})
    env = environment.build_environment(
        conf, {}, Manifest(), home=HOME, purpose="p", stage=stage
    ).env
    assert (env.get("CI"), env.get("NODE_ENV")) == (ci, node)


def test_a_later_source_wins_and_is_the_origin(build):
    resolved = build(
        "COLOUR=file\nSIZE=file\nPLAIN=file\n",
        env_defaults={"COLOUR": "app", "SHAPE": "app"},
        env={"SIZE": "toml", "DB_NAME": "${PGDATABASE}", "BOTH": "$SHAPE-${COLOUR}"},
    )
    env, origin = resolved.env, origins(resolved)
    assert (env["SHAPE"], origin["SHAPE"]) == ("app", "app.json")
    assert (env["COLOUR"], origin["COLOUR"]) == ("file", "worker-preview.env")
    assert (env["SIZE"], origin["SIZE"]) == ("toml", "oroboros.toml")
    assert (env["DB_NAME"], env["BOTH"]) == ("app_preview_1", "app-file")
    assert origin["PORT"] == "oroboros"


@pytest.mark.parametrize(
    "line",
    [
        "LD_PRELOAD=/tmp/x.so",
        "PYTHONSTARTUP=/tmp/x.py",
        "PYTHONPATH=/tmp",
        "BASH_ENV=/tmp/x",
        "ENV=/tmp/x",
        "NODE_OPTIONS=--require=/tmp/x",
        "GIT_SSH_COMMAND=x",
        "PGSERVICEFILE=/tmp/x",
        "DATABASE_URL=postgresql://prod/control",
        "PGPASSWORD=x",
        "PORT=1",
        "PATH=/tmp",
        "OROBOROS_RUN=x",
        "PREVIEW_ADMIN_DATABASE_URL=x",
        "DEPLOY_BACKEND_RELOAD_CMD=x",
    ],
)
@pytest.mark.parametrize("allowed", ["", "*"])
def test_a_forbidden_name_is_refused_even_if_the_allow_list_has_it(build, line, allowed):
    with pytest.raises(Refused) as refusal:
        build(line + "\n", {"WORKER_SUBPROCESS_ENV_ALLOWLIST": allowed})
    assert (refusal.value.code, refusal.value.status) == ("env_key_forbidden", 400)


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_the_operators_file_cannot_set_a_name_that_oroboros_sets_at_each_start(build, name):
    with pytest.raises(Refused) as refusal:
        build(f"{name}=x\n")
    assert (refusal.value.code, refusal.value.status) == ("env_key_forbidden", 400)


def test_what_a_start_sets_wins_over_the_operators_file(build):
    resolved = build("SOURCE_VERSION=theirs\nNODE_ENV=test\n")
    assert resolved.env["SOURCE_VERSION"] == "c" * 40
    assert origins(resolved)["SOURCE_VERSION"] == "oroboros"
    assert resolved.env["NODE_ENV"] == "test"  # our base, which the operator may change


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1BAD=x", "env_line_invalid"),
        ("A=1\0B=2", "env_file_invalid"),
        ("A=1\nA=2", "env_key_duplicate"),
        ("A=" + "x" * 70_000, "env_file_too_large"),
    ],
)
def test_a_broken_file_is_refused_with_its_code(build, text, code):
    with pytest.raises(Refused) as refusal:
        build(text)
    assert (refusal.value.code, refusal.value.status) == (code, 400)


def test_nothing_in_the_operators_file_is_expanded(build):
    assert build("A=$(cat /etc/shadow)\nB=$PORT\n").env["A"] == "$(cat /etc/shadow)"
    assert build("B=$PORT\n").env["B"] == "$PORT"


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        "postgresql://oroboros:control-pw@127.0.0.1/oroboros",
        "postgresql://admin:admin-pw@127.0.0.1/postgres",
    ],
)
def test_a_control_secret_under_another_name_is_refused(build, value):
    with pytest.raises(Refused) as refusal:
        build(f"HARMLESS={value}\n")
    assert refusal.value.code == "env_secret_forbidden"


def test_a_name_that_is_not_on_the_allow_list_is_left_out(build):
    settings = {"WORKER_SUBPROCESS_ENV_ALLOWLIST": "MAIL_*, COLOUR"}
    resolved = build("MAIL_HOST=m\nCOLOUR=b\nOTHER=o\n", settings)
    assert {"MAIL_HOST", "COLOUR"} < set(resolved.env)
    assert "OTHER" not in resolved.env
    assert any("OTHER" in note and "ALLOWLIST" in note for note in resolved.notes)


def test_the_block_list_wins_over_the_allow_list_for_every_source(build):
    settings = {
        "WORKER_SUBPROCESS_ENV_ALLOWLIST": "STRIPE_KEY",
        "WORKER_SUBPROCESS_ENV_BLOCKLIST": "STRIPE_*",
    }
    resolved = build(
        "STRIPE_KEY=live\n", settings, env_defaults={"STRIPE_A": "x"}, env={"STRIPE_B": "x"}
    )
    assert not any(name.startswith("STRIPE") for name in resolved.env)
    assert len(resolved.notes) == 3


def test_reserved_names_of_app_json_are_left_out_with_a_note(build):
    resolved = build(env_defaults={"PYTHONUNBUFFERED": "0", "PORT": "5000", "LD_PRELOAD": "x"})
    assert resolved.env["PORT"] == "8101"
    assert resolved.env["PYTHONUNBUFFERED"] == "1"
    assert "LD_PRELOAD" not in resolved.env
    assert len(resolved.notes) == 3


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONPATH", "PORT", "OROBOROS_RUN", "HOME"])
def test_a_reserved_name_in_the_manifest_is_refused(build, name):
    with pytest.raises(Refused, match=r"oroboros\.toml") as refusal:
        build(env={name: "x"})
    assert refusal.value.code == "env_key_forbidden"


def test_the_manifest_may_set_database_url(build):
    url = "postgresql+psycopg://${PGUSER}@${PGHOST}/${PGDATABASE}"
    assert build(env={"DATABASE_URL": url}).env["DATABASE_URL"].startswith("postgresql+psycopg://")


def test_an_unset_variable_is_noted(build):
    resolved = build(env={"A": "${ABSENT}x"}, env_required=("API_TOKEN", "PORT"))
    assert resolved.env["A"] == "x"
    assert resolved.notes == (
        "A: the variable ABSENT is not set.",
        "app.json requires API_TOKEN: set it in worker-preview.env.",
    )


@pytest.mark.parametrize(
    ("text", "value", "notes"),
    [
        ("$2b$12$abcdefghijklmnop", "$2b$12$abcdefghijklmnop", 1),
        ("$2y$10$.ab/c", "$2y$10$.ab/c", 0),
        ("price $$USD, \\$$HOME", "price $USD, \\$HOME", 0),
        ("pa$$word", "pa$word", 0),
        ("pa$word", "pa$word", 1),
        ("100$", "100$", 0),
        ("${ABSENT:-blue}", "blue", 0),
        ("$PGUSER$$PGUSER", "app_preview_1$PGUSER", 0),
        ("-----BEGIN-----\nabc\n", "-----BEGIN-----\nabc\n", 0),
    ],
)
def test_only_known_variables_are_filled_in(build, text, value, notes):
    resolved = build(env={"A": text})
    assert resolved.env["A"] == value
    assert len(resolved.notes) == notes
    assert all("write $$" in note for note in resolved.notes)


def test_the_operators_file_follows_the_rules_of_env_files(build):
    resolved = build(
        "A=on # for previews only\nexport B='$2b$12$x # y'\nC=\"-----BEGIN\nabc\n-----END\"\n"
    )
    env = resolved.env
    assert (env["A"], env["B"]) == ("on", "$2b$12$x # y")
    assert env["C"] == "-----BEGIN\nabc\n-----END"


def test_a_generated_secret_depends_on_purpose_and_name_only(build):
    first = build(env_generated=("SESSION",)).env
    assert build(env_generated=("SESSION",)).env["SESSION"] == first["SESSION"]
    assert len(first["SESSION"]) == 64
    assert first["SESSION"] != first["OROBOROS_SECRET"]
    other = build(env_generated=("SESSION",), purpose="production").env
    assert other["SESSION"] != first["SESSION"]


def test_secrets_are_masked_within_other_values_too(build):
    resolved = build(
        "MAIL_HOST=mail.example\nSHORT=1\n",
        env_generated=("SESSION",),
        env={
            "DB_PASS": "${PGPASSWORD}",
            "DSN_TEXT": "password=${PGPASSWORD} host=x",
            "URL": "postgresql+psycopg://u:${PGPASSWORD}@h/d",
            "COPY": "${MAIL_HOST}",
            "COLOUR": "blue",
            "ONE": "1",
        },
    )
    shown = masked(resolved)
    secret = ("PGPASSWORD", "DB_PASS", "DSN_TEXT", "URL", "SESSION", "OROBOROS_SECRET")
    for name in (*secret, "MAIL_HOST", "COPY", "SHORT"):
        assert shown[name] == environment.MASK, name
    assert (shown["COLOUR"], shown["ONE"], shown["PORT"]) == ("blue", "1", "8101")
    assert shown["DATABASE_URL"] == URL.replace("p%40ss-w0rd", environment.MASK)
    for value in resolved.values:
        if value.name in secret:
            assert not any(value.value in text for text in shown.values())


def test_an_environment_without_secret_key_is_refused(build):
    with pytest.raises(Refused, match="SECRET_KEY"):
        build(settings={"SECRET_KEY": ""})


def test_an_install_gets_the_hosts_registries_and_no_value_of_the_application(tmp_path):
    conf = config.load({"HTTPS_PROXY": "http://proxy", "SECRET_KEY": SECRET, "UV_INDEX_URL": "i"})
    env = environment.build_install_environment(conf, home=HOME)
    assert (env["HTTPS_PROXY"], env["UV_DEFAULT_INDEX"]) == ("http://proxy", "i")
    assert env["HOME"] == str(HOME)  # where uv and npm keep downloads, if nothing says otherwise
    assert not {"UV_CACHE_DIR", "XDG_CACHE_HOME", "npm_config_cache"} & set(env)
    assert SECRET not in env.values()


def test_an_installs_environment_has_no_blocked_name():
    said = {
        "UV_INDEX_URL": "https://u:pw@index.example/simple",
        "https_proxy": "http://u:pw@proxy.example:3128",
        "NO_PROXY": "localhost",
        "WORKER_SUBPROCESS_ENV_BLOCKLIST": "UV_INDEX_URL, HTTP*_PROXY",
    }
    env = environment.build_install_environment(config.load(said), home=HOME)
    assert env["NO_PROXY"] == "localhost"
    assert not any("pw" in value for value in env.values())


def test_a_previews_mail_goes_to_its_sink_whatever_the_manifest_and_the_operator_say(build):
    preview = build(
        "EMAIL_PORT=587\n",
        env={"EMAIL_HOST": "smtp.example.com", "MAILER": "$SMTP_HOST:$SMTP_PORT"},
        env_defaults={"SMTP_HOST": "smtp.example.com"},
    ).env
    assert preview["MAILER"] == f"{preview['EMAIL_HOST']}:{preview['EMAIL_PORT']}"
    assert preview["EMAIL_URL"] == f"smtp://{preview['MAILER']}" == "smtp://127.0.0.1:8301"


def test_builds_and_production_have_no_mail_sink():
    conf = config.load({"SECRET_KEY": SECRET})
    slot = environment.build_slot_variables(
        conf, conf.slots[0], database_url=URL, run_id="", commit="", label=LABEL
    )
    production = environment.build_production_variables(
        conf, port=1, database_url=URL, release_id="", commit=""
    )
    for variables in (environment.select_build_variables(conf, slot), production):
        assert mail.NAMES.isdisjoint(variables)


def test_servers_that_choose_their_address_by_a_variable_listen_on_loopback(build):
    env = build().env
    assert {env[name] for name in ("HOST", "HOSTNAME", "UVICORN_HOST")} == {"127.0.0.1"}
