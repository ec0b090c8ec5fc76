"""Builds of real applications: what they serve, how they fail, and who owns them."""

import json
import os
import shutil
import subprocess

import pytest

from host.units import managers
from releases.builds.build import BuildFailed
from releases.builds.build_folders import build_folder
from releases.deployments import deploy_and_rollback
from releases.models import Release
from releases.rules import ReleaseStatus
from tests.releases.production_state import (
    assert_consistent,
    deploy,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_application_without_a_backend_is_deployed_and_rolled_back(config, repo, web):
    files = {"oroboros.toml": '[frontend]\ndirectory = "site"\noutput = "."\n', "Procfile": None}
    without = {name: None for name in repo.files if name.startswith("backend/")}
    first = deploy(config, repo.commit("one", **files, **without))
    second = deploy(config, repo.commit("two"))
    assert (web.get()[1], "two" in web.get()[2]) == (second.commit_sha, True)
    deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="back")
    assert web.get()[1] == first.commit_sha
    assert managers.get_manager(config).list_names() == []


def test_application_without_a_frontend_is_served_by_its_backend(config, repo, web):
    commit = repo.commit("one", **{"oroboros.toml": '[backend]\ndirectory = "backend"\n'})
    deploy(config, commit)
    status, shown, body = web.get("/anything")
    assert (status, shown, json.loads(body)["version"]) == (200, commit, "one")


@pytest.mark.full
def test_routes_of_the_manifest_hold_from_the_switch_on_and_after_a_rollback(config, repo, web):
    toml = repo.files["oroboros.toml"]
    routes = toml + '[routes]\n"/graphql" = "web"\n'
    first = deploy(config, repo.commit("one", **{"oroboros.toml": routes}))
    assert json.loads(web.get("/graphql")[2])["version"] == "one"
    deploy(config, repo.commit("two", **{"oroboros.toml": toml}))
    assert "version" not in web.get("/graphql")[2]
    deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="back")
    assert json.loads(web.get("/graphql")[2])["version"] == "one"


def test_link_that_leads_out_of_the_build_is_not_served(config, repo, web):
    """A build's output is copied as files: a link in it could name any file of the host."""
    build = "import os\nos.makedirs('out')\nos.symlink('/etc/passwd', 'out/x')\n"
    build += "open('out/index.html', 'w').write('hi')\n"
    toml = '[frontend]\ndirectory = "site"\nbuild = "python build.py"\noutput = "out"\n'
    toml += '[backend]\ndirectory = "backend"\n'
    deploy(config, repo.commit("one", **{"site/build.py": build, "oroboros.toml": toml}))
    assert web.get("/x")[2] == "hi"  # the page, as for every path that is not there


def test_build_has_the_variables_of_a_start_and_a_database_that_does_not_exist(config, repo, web):
    build = "import json, os\nos.makedirs('out')\n"
    build += "json.dump(dict(os.environ), open('out/index.html', 'w'))\n"
    toml = '[frontend]\ndirectory = "site"\nbuild = "python build.py"\noutput = "out"\n'
    commit = repo.commit("one", **{"site/build.py": build, "oroboros.toml": toml, "Procfile": None})
    deploy(config, commit)
    env = json.loads(web.get()[2])
    assert (env["OROBOROS_COMMIT"], env["SOURCE_VERSION"]) == (commit, commit)
    assert (env["OROBOROS_BRANCH"], env["CI"], env["NODE_ENV"]) == ("main", "1", "production")
    assert env["PGDATABASE"] == env["PGUSER"] == "no_database_in_builds"
    assert env["PORT"] == str(config.colour_ports[0])


def test_failed_build_raises_with_its_log_and_leaves_no_folder(config, repo, web):
    toml = '[frontend]\ndirectory = "site"\nbuild = "python build.py"\noutput = "out"\n'
    broken = {"oroboros.toml": toml, "site/build.py": "raise SystemExit('no such thing')"}
    with pytest.raises(BuildFailed, match="no such thing") as failed:
        deploy(config, repo.commit("one", **broken))
    assert failed.value.code == "BUILD_FAILED"
    assert Release.objects.get().status == ReleaseStatus.FAILED
    assert list((config.var / "releases").glob("r-*")) == []


@pytest.mark.parametrize(
    ("build", "why"),
    [
        ("os.makedirs('real'); os.symlink('real', 'out')", "site/out is not served: out is a link"),
        ("os.makedirs('out'); os.makedirs('a/' * 900)", "nested deeper"),
        ("os.makedirs('out/' + 'a/' * 900)", "nested deeper"),
    ],
)
def test_build_with_a_linked_or_too_deep_output_fails(config, repo, web, build, why):
    toml = '[frontend]\ndirectory = "site"\nbuild = "python build.py"\noutput = "out"\n'
    with pytest.raises(BuildFailed, match=why) as failed:
        deploy(
            config,
            repo.commit("one", **{"oroboros.toml": toml, "site/build.py": f"import os; {build}"}),
        )
    assert failed.value.code == "BUILD_FAILED"
    assert list((config.var / "releases").glob("r-*")) == []


def test_build_is_read_only_and_owned_by_the_control_plane(config, repo, web):
    release = deploy(config, repo.commit("one"))
    folder = build_folder(config, release.pk)
    for path in [folder, *folder.rglob("*")]:
        assert path.is_symlink() or not path.stat().st_mode & 0o222, path
        assert path.lstat().st_uid == os.geteuid()


@pytest.mark.root
def test_full_disk_fails_only_the_build_with_disk_full(config, repo, web):
    first = deploy(config, repo.commit("one"))
    small = config.var / "releases"
    kept = config.var / "releases.kept"
    shutil.copytree(small, kept, symlinks=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], check=True)
    try:
        shutil.copytree(kept, small, symlinks=True, dirs_exist_ok=True)
        commit = repo.commit("two", **{"site/big.bin": "x" * 800_000})
        with pytest.raises(BuildFailed) as failed:
            deploy(config, commit)
        assert failed.value.code == "DISK_FULL"
        release = Release.objects.get(commit_sha=commit)
        assert release.status == ReleaseStatus.FAILED
        assert not build_folder(config, release.pk).exists()
        assert web.get()[1] == first.commit_sha
        assert json.loads(web.get("/api/version")[2])["version"] == "one"
        smaller = deploy(config, repo.commit("three", **{"site/big.bin": None}))
        assert_consistent(config, smaller, web)
    finally:
        for name in managers.get_manager(config).list_names():
            managers.get_manager(config).stop(name, grace=1)
        subprocess.run(["umount", "-l", str(small)], check=True)
