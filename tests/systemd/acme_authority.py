"""Debian's pebble, the ACME authority of Let's Encrypt's developers for tests, in the machine."""

import json
import shutil
import subprocess
from pathlib import Path

FOLDER = "/etc/acme-test"
DIRECTORY = "https://localhost:14000/dir"
# What the router, curl and the doctor trust: the authority's server, and what it issues.
ROOTS = f"{FOLDER}/roots.pem"
# Short enough for the router to renew it at the next visit.
VALID_SECONDS = 1800
CONFIG = {
    "listenAddress": "127.0.0.1:14000",
    "managementListenAddress": "127.0.0.1:15000",
    "certificate": f"{FOLDER}/cert.pem",
    "privateKey": f"{FOLDER}/key.pem",
    "httpPort": 80,
    "tlsPort": 443,
    "ocspResponderURL": "",
    "certificateValidityPeriod": VALID_SECONDS,
}
MAKE_KEY = (
    f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
    f"-addext subjectAltName=DNS:localhost -keyout {FOLDER}/key.pem -out {FOLDER}/cert.pem"
)
# Every name leads to this machine.
NAMES = (
    "systemd-run --quiet --unit acme-names pebble-challtestsrv -defaultIPv4 127.0.0.1 "
    "-defaultIPv6 '' -dns01 127.0.0.1:8053 -management 127.0.0.1:8055 -http01 '' -https01 '' "
    "-tlsalpn01 ''"
)
AUTHORITY = (
    "systemd-run --quiet --unit acme-authority -E PEBBLE_VA_NOSLEEP=1 "
    f"pebble -config {FOLDER}/config.json -dnsserver 127.0.0.1:8053"
)
GET_ROOT = (
    f"curl -fsS --retry 20 --retry-connrefused --retry-delay 1 --cacert {FOLDER}/cert.pem "
    f"https://localhost:15000/roots/0 | cat {FOLDER}/cert.pem - >{ROOTS}"
)


def install(machine):
    """Install the package on this host, which has a network, and copy its programs."""
    if shutil.which("pebble") is None:
        argv = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-qy", "pebble"]
        subprocess.run(argv, check=True, capture_output=True)
    for name in ("pebble", "pebble-challtestsrv"):
        program = Path("/usr/bin", name).read_bytes()
        path = f"/usr/local/bin/{name}"
        machine.run(f"cat >{path} && chmod 755 {path}", cwd="/", stdin=program)


def start(machine):
    """Start the authority and its name server."""
    install(machine)
    machine.run(f"mkdir -p {FOLDER} && {MAKE_KEY}", cwd="/")
    machine.run(
        f"cat >{FOLDER}/config.json", cwd="/", stdin=json.dumps({"pebble": CONFIG}).encode()
    )
    machine.run(NAMES, cwd="/")
    machine.run(AUTHORITY, cwd="/")
    machine.run(f"{GET_ROOT} && chmod 644 {ROOTS}", cwd="/")


def stop(machine):
    machine.run("systemctl stop acme-authority acme-names", cwd="/")
