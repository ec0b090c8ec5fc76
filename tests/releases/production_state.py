"""Deploys, makes releases, and compares their rows with link, colours and answers."""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from io import StringIO

from django.core.management import call_command
from django.db import connection
from rest_framework.test import APIRequestFactory, force_authenticate

from core.clock import ClockTimestamp
from host.files.surface_folder import LiveFile
from host.units import managers
from releases import api
from releases.builds import build_manifest
from releases.builds.build_folders import build_folder
from releases.deployments import deploy_and_rollback
from releases.deployments.deploy_commit import deploy_commit
from releases.models import Deployment, Release
from releases.production import colours, current_link
from releases.rules import DeploymentKind, ReleaseStatus
from web.permissions import Principal

OPERATOR = Principal("ann", frozenset({"view", "operate"}))


def post_rollback(config, release_id, **body):
    body = {"reason": "a test"} | body
    request = APIRequestFactory().post("/", json.dumps(body), content_type="application/json")
    force_authenticate(request, user=OPERATOR)
    return api.RollbackView.as_view()(request, release_id=release_id)


def run_rollback_command(*arguments):
    """Run `manage.py rollback` and return its answer and exit code."""
    out, err = StringIO(), StringIO()
    try:
        call_command("rollback", *arguments, stdout=out, stderr=err)
    except SystemExit as ended:
        return json.loads(out.getvalue()), ended.code
    return json.loads(out.getvalue()), 0


def deploy(config, commit):
    return deploy_commit(config, commit, actor="ann", reason="a test")[0]


def write_script(config, name, body):
    """Write a hook and return the command line that runs it."""
    path = config.var / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def subprocess_environment():
    """Return the environment of a process that uses the test's database."""
    url = os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{connection.settings_dict['NAME']}"
    return {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "oroboros.settings"}


def run_and_kill(point, when, action, argument):
    """Deploy or roll back in a process that is killed before or after the function `point`."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.releases.killed_process", point, when, action, argument],
        env=subprocess_environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def expire_claims():
    """Let the claims of running deployments expire without waiting 30 s."""
    past = ClockTimestamp() - timedelta(seconds=60)
    running = Deployment.objects.running()
    running.update(started_at=past)
    running.filter(claim_expires_at__isnull=False).update(claim_expires_at=past)


def assert_consistent(config, release, web):
    """Check that `release` alone is live: by row, current link, colour and answers."""
    assert list(Release.objects.filter(status=ReleaseStatus.LIVE)) == [release]
    assert not Deployment.objects.running().exists()
    now = current_link.read(config)
    assert now.commit == release.commit_sha
    assert Deployment.objects.get(pk=now.number).release == release
    assert web.get()[1] == release.commit_sha
    assert release.commit_sha in web.get("/api/version")[2]
    colour = colours.get_live_colour(config)
    assert managers.get_manager(config).list_names() == [colours.unit_name(colour)]


def make_release(config, digit):
    """Create a built release with a small build."""
    release = Release.objects.start_build(digit * 40, tree=digit * 40, run_id=None)
    folder = build_folder(config, release.pk)
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "page").write_text(digit)
    facts = {"web": None, "release": None, "manifest": {}, "bins": []}
    release.finish_build(checksum=build_manifest.finalize_build(folder, facts), migrations=[])
    return release


def make_live(config, release):
    deployment = deploy_and_rollback.begin_deployment(
        release.pk, kind=DeploymentKind.DEPLOY, actor="ann", reason="t"
    )
    claim = Deployment.objects.running().claim(deployment.number, "test")
    address = colours.address(config, deployment.colour)
    current_link.write(config, LiveFile(deployment.number, address, release.commit_sha), None, None)
    current_link.switch(config, deployment.number)
    deployment.go_live(claim)
    deployment.succeed(claim)
    release.refresh_from_db()
    return deployment


def read_state(config):
    """Return everything that a refusal must not change."""
    return (
        list(Release.objects.values()),
        list(Deployment.objects.values()),
        current_link.link_path(config).readlink(),
    )


def change_file(folder):
    (folder / "app").chmod(0o755)
    (folder / "app" / "page").chmod(0o644)
    (folder / "app" / "page").write_text("other")
