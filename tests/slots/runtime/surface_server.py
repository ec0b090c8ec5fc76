"""The real Caddy as a surface, and requests to it."""

import contextlib
import http.client
import json
import os
import subprocess

from host.deadline import wait_until
from host.files.surface_folder import LiveFile, SurfaceFolder
from slots.runtime import surface, worktree
from tests.environment import is_listening

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"


@contextlib.contextmanager
def caddy(config, name):
    """Run the surface and wait until it answers."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(config.var)}
    environ |= surface.build_environment(config, name)
    port = int(environ["WEB_PORT"])
    process = subprocess.Popen(
        surface.build_command(config), env=environ, cwd=config.home, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_until(lambda: is_listening(port), seconds=60, interval=0.01), (
            "Caddy does not listen"
        )
        yield port
    finally:
        process.terminate()
        process.wait(60)


class Response:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


def request(port, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        return Response(connection.getresponse())
    finally:
        connection.close()


def build_public(slot, name="dist", **pages):
    public = worktree.path(slot) / name
    public.mkdir(parents=True, exist_ok=True)
    for page, text in pages.items():
        (public / page.replace("_", ".")).write_text(text)
    return public


def activate_main(
    config, number, port, commit, public=None, previous=None, health_path="/health", until=0
):
    address = f"127.0.0.1:{port}"
    health_url = f"{address}{health_path}" if health_path else None
    live = LiveFile(
        number,
        address,
        commit,
        health_url=health_url,
        has_public=public is not None,
        previous_until=until,
    )
    folder = SurfaceFolder(config.var)
    with folder.write_version(live) as unfinished:
        for name, target in (("public", public), ("previous", previous)):
            if target is not None:
                (unfinished / name).symlink_to(target)
    folder.switch(number)
