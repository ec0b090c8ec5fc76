"""Instances of the production app differ in port, database, home and storage only."""

from dataclasses import asdict, replace

from host.app.manifest import Manifest
from host.app.planning import Command
from releases.builds.launch_spec import LaunchSpec
from releases.models import Release
from releases.production import app_instance
from releases.production.app_instance import Instance

WEB = Command("web", ("sh", "serve.sh"))
OF_THE_INSTANCE = {
    "PORT", "DATABASE_URL", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "HOME",
    "TMPDIR", "DB_NAME", "OROBOROS_STORAGE_MEDIA",
}  # fmt: skip


def test_the_gates_start_differs_in_port_database_home_and_storage_only(config, tmp_path):
    config = replace(config, env_dir=tmp_path)
    (config.env_dir / "app.env").write_text("SENTRY_DSN=https://a@b/1\n")
    (config.env_dir / "worker-preview.env").write_text("OF_PREVIEWS=1\n")
    release = Release(pk="r-1", commit_sha="c" * 40)
    manifest = Manifest(env={"DB_NAME": "${PGDATABASE}"}, storage={"media": "backend/media"})
    spec = LaunchSpec(WEB, None, manifest, [])
    var = config.var
    live, gate = (
        asdict(app_instance.make_unit(config, release, spec, WEB, instance))
        for instance in (
            Instance("blue", 1, "postgresql://a:b@h:1/app", var / "app", var / "storage/1", (3,)),
            Instance("gate", 2, "postgresql://c:d@i:2/gate", var / "gate", var / "storage/2", (4,)),
        )
    )
    assert {name for name in live if live[name] != gate[name]} == {"name", "port", "env", "log"}
    env = gate["env"]
    assert {name for name in env if env[name] != live["env"][name]} == OF_THE_INSTANCE
    assert env.keys() == live["env"].keys()
    assert env["SENTRY_DSN"] == "https://a@b/1"
    assert "OF_PREVIEWS" not in env
