"""How Chromium is started: it reaches one address, over TCP, and knows nothing of ours."""

from pathlib import Path

from host.screenshots import chromium

HOST = "x.preview1.localhost:3101"


def words(**options):
    values = {"has_sandbox": True, **options}
    return chromium.build_argv("/usr/bin/chromium", Path("/f"), HOST, "127.0.0.1:3101", **values)


def test_only_the_address_of_the_surface_is_found():
    rule = f"--host-resolver-rules=MAP {HOST} 127.0.0.1:3101, MAP * ~NOTFOUND"
    assert rule in words()
    assert "--no-proxy-server" in words()
    assert set(chromium.TCP_ONLY) < set(words())


def test_the_sandbox_is_left_out_only_where_the_kernel_refuses_it():
    assert "--no-sandbox" not in words()
    assert "--no-sandbox" in words(has_sandbox=False)


def test_the_environment_has_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "secret")
    found = chromium.build_environment(Path("/f"))
    assert found["HOME"] == "/f" and "SECRET_KEY" not in found and "secret" not in found.values()
