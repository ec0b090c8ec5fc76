"""The router's configuration in public mode, as Caddy reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from host import config as configuration
from host.errors import Refused
from host.units.stack_ports import list_ports
from ops import systemd
from ops.installed import public_router
from slots.runtime import web_units

PUBLIC = {"OROBOROS_PUBLIC": "true", "OROBOROS_DOMAIN": "oro.test"}
PRIVATE = {
    "ACME_DIRECTORY": "https://ca.example:9000/dir",
    "ACME_CA_ROOT": "/etc/oroboros/ca.pem",
    "ACME_EMAIL": "ops@oro.test",
}


def load(**values):
    return configuration.load({**PUBLIC, **values})


def adapt(config):
    """Return Caddy's own form of the router's configuration."""
    unit = web_units.build_web_units(config)[-1]
    caddy = Path(sys.executable).with_name("caddy")
    argv = [caddy, "adapt", "--config", unit.argv[3], "--adapter", "caddyfile"]
    done = subprocess.run(argv, cwd=unit.cwd, env={**os.environ, **unit.env}, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["apps"]


def test_the_router_listens_for_https_and_asks_which_names_exist():
    apps = adapt(load())
    servers = apps["http"]["servers"].values()
    assert sorted(one["listen"][0] for one in servers) == ["127.0.0.1:8088", ":443", ":80"]
    tls = apps["tls"]["automation"]
    assert tls["on_demand"]["permission"]["endpoint"].endswith(":8000/internal/certificate")
    fixed, others = tls["policies"]
    assert fixed["subjects"] == ["api.oro.test", "app.oro.test"] and "on_demand" not in fixed
    assert "subjects" not in others and others["on_demand"] is True
    assert others["issuers"][0]["ca"] == web_units.LETS_ENCRYPT
    assert "email" not in others["issuers"][0]


def test_plain_http_is_redirected_and_every_answer_over_https_is_remembered():
    servers = adapt(load())["http"]["servers"].values()
    texts = {one["listen"][0]: json.dumps(one["routes"]) for one in servers}
    assert '"Strict-Transport-Security": ["max-age=31536000"]' in texts[":443"]
    assert "Strict-Transport-Security" not in texts[":80"] + texts["127.0.0.1:8088"]
    assert '"Location": ["https://{http.request.host}{http.request.uri}"]' in texts[":80"]
    assert "reverse_proxy" not in texts[":80"]


def test_the_authority_its_root_and_the_ports_are_settings():
    apps = adapt(load(**PRIVATE, OROBOROS_PORT_OFFSET="2000"))
    assert {":2443", ":2080"} < {one["listen"][0] for one in apps["http"]["servers"].values()}
    for policy in apps["tls"]["automation"]["policies"]:
        issuer = policy["issuers"][0]
        assert (issuer["ca"], issuer["email"]) == (PRIVATE["ACME_DIRECTORY"], "ops@oro.test")
        assert issuer["trusted_roots_pem_files"] == [PRIVATE["ACME_CA_ROOT"]]
    assert "https://{http.request.host}:2443{http.request.uri}" in json.dumps(apps)
    assert "frame-ancestors 'self' https://api.oro.test:2443" in json.dumps(apps)


def test_links_and_origins_have_the_port_that_an_offset_moved():
    config, moved = load(), load(OROBOROS_PORT_OFFSET="2000")
    slot = config.slots[0]
    assert config.frontend_url(slot, "one-1a2b3c") == "https://one-1a2b3c.preview.oro.test"
    assert config.is_https and config.is_protected
    assert moved.frontend_url(slot, "one-1a2b3c") == "https://one-1a2b3c.preview.oro.test:2443"
    assert moved.preview_origin("x.preview.oro.test") == "https://x.preview.oro.test:2443"
    assert moved.admin_url == "https://api.oro.test:2443/admin/"
    assert moved.app_host == "app.oro.test:2443"
    ports = [port for _, port, unit in list_ports(moved) if unit == "ouroboros-caddy"]
    assert ports == [10088, 2080, 2443]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACME_DIRECTORY", "http://ca.example/dir"),
        ("ACME_DIRECTORY", "https://ca.example/dir } }"),
        ("ACME_CA_ROOT", "ca.pem"),
        ("ACME_CA_ROOT", "/etc/{$SECRET_KEY}"),
        ("ACME_EMAIL", "ops"),
        ("OROBOROS_DOMAIN", ""),
    ],
)
def test_what_would_be_another_configuration_is_refused(name, value):
    with pytest.raises(Refused, match=name) as refused:
        load(**{name: value})
    assert refused.value.code == "setting_invalid"


def test_only_the_units_drop_in_of_public_mode_has_the_capability():
    path = systemd.UNITS / public_router.DROP_IN
    steps = {one.description for one in systemd.plan_steps(load())}
    assert str(path) in steps and f"{path}, removed" not in steps
    without = {one.description for one in systemd.plan_steps(configuration.load({}))}
    assert f"{path}, removed" in without
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in public_router.TEXT
    assert path in systemd.list_installed_files(load())
    assert "ROUTER_CONFIG='Public.Caddyfile'\n" in public_router.render_web_environment(load())
