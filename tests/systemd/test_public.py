"""Public mode on a host with systemd: certificates of an authority, and addresses of branches."""

import re

import pytest

from tests.systemd import acme_authority
from tests.systemd.acme_authority import DIRECTORY, ROOTS
from tests.systemd.machine import wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

DOMAIN = "oro.test"
APPLY = "./scripts/apply-settings.sh"
SETTINGS = {
    "OROBOROS_PUBLIC": "true",
    "OROBOROS_DOMAIN": DOMAIN,
    "ACME_DIRECTORY": DIRECTORY,
    "ACME_CA_ROOT": ROOTS,
}
NET_BIND_SERVICE = 1 << 10  # capabilities(7)


@pytest.fixture(scope="module")
def public(host):
    """Return the machine with public mode switched on; afterwards it is as before."""
    acme_authority.start(host)
    host.run("cp -p /etc/oroboros/api.env /root/api.env", cwd="/")
    lines = "".join(f"{name}={value}\n" for name, value in SETTINGS.items())
    host.run("cat >>/etc/oroboros/api.env", cwd="/", stdin=lines.encode())
    host.run(APPLY)
    # The router requests the first two certificates while it runs.
    for name in (f"app.{DOMAIN}", f"api.{DOMAIN}"):
        wait_for(lambda name=name: has_certificate(host, name), 90, f"{name} has no certificate")
    yield host
    host.run("cp -p /root/api.env /etc/oroboros/api.env", cwd="/")
    host.run(APPLY)
    acme_authority.stop(host)
    assert not listens_on(host, 443)


def listens_on(host, port):
    return host.run_unchecked(f"ss -Hltn 'sport = :{port}' | grep -q .").returncode == 0


def request(host, name, path="/", *options, scheme="https", port=443):
    """Return the completed curl; the name leads to this machine."""
    to = f"--resolve {name}:{port}:127.0.0.1 --cacert {ROOTS} -m 60"
    return host.run_unchecked(f"curl -sS -i {to} {' '.join(options)} {scheme}://{name}{path}")


def get(host, name, path="/", *options, **more):
    done = request(host, name, path, *options, **more)
    assert done.returncode == 0, (name, done.stderr)
    return done.stdout.decode()


def has_certificate(host, name):
    return request(host, name).returncode == 0


def read_serial(host, name):
    hello = f"openssl s_client -connect 127.0.0.1:443 -servername {name} </dev/null 2>/dev/null"
    return host.run(f"{hello} | openssl x509 -noout -serial").strip()


def read_capabilities(host, unit):
    return int(host.run(f"awk '/^CapEff/{{print $2}}' /proc/{host.pid(unit)}/status"), 16)


def test_the_names_get_certificates_and_an_unknown_name_gets_none(public):
    answer = get(public, f"app.{DOMAIN}", "/api/health")
    assert answer.startswith("HTTP/2 200")
    assert "strict-transport-security: max-age=31536000\r\n" in answer
    assert get(public, f"api.{DOMAIN}", "/health").startswith("HTTP/2 200")
    assert get(public, f"preview2.{DOMAIN}", "/health").startswith("HTTP/2 401")
    plain = get(public, f"api.{DOMAIN}", "/health?x=1", scheme="http", port=80)
    assert "308 Permanent Redirect" in plain
    assert f"Location: https://api.{DOMAIN}/health?x=1\r\n" in plain
    for name in (
        f"gone-1a2b3c.preview.{DOMAIN}",
        f"x.{DOMAIN}",
        "other.example",
        f"pr-7.preview.{DOMAIN}",
    ):
        done = request(public, name)
        assert done.returncode == 35, (name, done.stdout)  # curl(1): no TLS connection
        unknown = get(public, name, scheme="http", port=80)
        is_ours = name.endswith(f".preview.{DOMAIN}")
        assert ("308" if is_ours else "404") in unknown.splitlines()[0]
        orders = f"journalctl -u acme-authority | grep -c {name}"
        assert public.run_unchecked(orders).stdout.strip() == b"0"


def test_only_the_router_may_bind_low_ports_and_nothing_else(public):
    assert read_capabilities(public, "ouroboros-caddy") == NET_BIND_SERVICE
    for unit in ("ouroboros-api", "ouroboros-worker", "ouroboros-web@main"):
        assert read_capabilities(public, unit) == 0, unit
    folder = "/var/lib/ouroboros-caddy/caddy/certificates"
    owner, mode = public.run("stat -c '%U %a' /var/lib/ouroboros-caddy").split()
    assert (owner, mode) == ("ouroboros-web", "700")
    assert f"api.{DOMAIN}.key" in public.run(f"find {folder} -name '*.key'")


def test_the_doctor_reads_names_ports_certificates_and_the_clock(public):
    said = public.run_unchecked("./scripts/doctor.sh 2>&1").stdout.decode()
    assert f"FAIL  DNS any.preview.{DOMAIN}" in said and "has no address" in said
    for subject in ("port 80, HTTP", f"certificate app.{DOMAIN}", f"certificate api.{DOMAIN}"):
        assert f"ok    {subject}" in said, said
    assert "ok    certificates' authority" in said
    # The answer's time has whole seconds, and the host may have other work.
    assert re.search(r"clock differs by \d s", said)
    for port in (80, 443):
        assert f"ok    port {port} router" in said, said


def cancel(host, run):
    host.post(f"/api/runs/{run['id']}/cancel")
    wait_for(
        lambda: host.get(f"/api/runs/{run['id']}")["slot_id"] is None, 60, "the slot is not free"
    )


def test_a_branchs_address_follows_its_run_from_slot_to_slot(public):
    public.make_branch("feature/public", {"note.txt": "one"})
    public.make_branch("feature/other", {"note.txt": "two"})
    token = public.run(".venv/bin/python manage.py create_token e2e preview")
    bypass = f"-H 'X-Oroboros-Bypass: {token.split()[-1]}'"
    first = public.make_run("feature/public")
    name = f"{first['label']}.preview.{DOMAIN}"
    assert first["frontend_url"] == f"https://{name}"
    assert get(public, name, "/api/health").startswith("HTTP/2 401")
    answer = get(public, name, "/api/health", bypass)
    assert answer.startswith("HTTP/2 200") and f"x-oroboros-run: {first['id']}" in answer
    assert f"content-security-policy: frame-ancestors 'self' https://api.{DOMAIN}\r\n" in answer
    cancel(public, first)
    absent = get(public, name, "/", bypass)
    assert absent.startswith("HTTP/2 404") and "Its run was canceled." in absent
    other = public.make_run("feature/other")
    assert other["slot_id"] == first["slot_id"]
    second = public.make_run("feature/public")
    assert second["slot_id"] != first["slot_id"]
    answer = get(public, name, "/api/health", bypass)
    assert answer.startswith("HTTP/2 200") and f"x-oroboros-run: {second['id']}" in answer
    for run in (other, second):
        cancel(public, run)


def test_a_certificate_is_renewed_before_it_expires(public):
    name = f"preview2.{DOMAIN}"
    first = read_serial(public, name)
    is_renewed = lambda: read_serial(public, name) != first  # noqa: E731
    wait_for(is_renewed, 120, "the certificate is the first one")
    assert get(public, name, "/health").startswith("HTTP/2 401")
