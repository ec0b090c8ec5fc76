"""Drop-ins for local git remotes, and the units that run with earlier settings."""

from pathlib import Path

import pytest

from host import config as configuration
from ops.doctor import findings
from ops.installed import remote_paths
from ops.installed.apply_settings import list_removed_units
from ops.installed.stale_units import StaleUnit, list_read_files, select_stale
from ops.preconditions.shell_settings import find_unknown_names

A, B = Path("/etc/oroboros/worker.env"), Path("/etc/systemd/system/x.service")


REAPER, WORKER = (
    path
    for name in ("reaper", "worker")
    for path in remote_paths.list_drop_ins(Path("/etc/systemd/system"))
    if name in str(path)
)


def test_units_may_write_below_the_roots_of_local_remotes():
    text = remote_paths.render_drop_in([Path("/srv/git"), Path("/srv/100% mine")], REAPER)
    lines = text.splitlines()[1:]
    assert lines == [
        "[Service]",
        'ReadWritePaths="-/srv/git"',
        'ReadWritePaths="-/srv/100%% mine"',
    ]
    assert remote_paths.render_drop_in([], REAPER) == ""


def test_units_that_push_may_set_the_group_bit_of_folders_of_a_shared_repository():
    roots = [Path("/srv/git")]
    assert "RestrictSUIDSGID=no\n" in remote_paths.render_drop_in(roots, WORKER)
    assert "RestrictSUIDSGID" not in remote_paths.render_drop_in(roots, REAPER)
    assert remote_paths.render_drop_in([], WORKER) == ""


def test_a_root_below_a_home_is_mounted_there_and_the_rest_stays_hidden():
    text = remote_paths.render_drop_in([Path("/home/ada/git"), Path("/srv/git")], REAPER)
    assert "ProtectHome=tmpfs\n" in text
    assert 'BindPaths="-/home/ada/git"\n' in text
    assert 'ReadWritePaths="-/srv/git"\n' in text


def test_a_root_below_the_hosts_tmp_is_mounted_in_that_of_the_units():
    text = remote_paths.render_drop_in([Path("/tmp/git"), Path("/tmpfs/git")], REAPER)
    assert text.splitlines()[2:] == ['ReadWritePaths="-/tmpfs/git"', 'BindPaths="-/tmp/git"']


def test_a_drop_in_of_removed_roots_is_not_as_it_should_be(tmp_path):
    path = tmp_path / "x.conf"
    assert remote_paths.is_written(path, "")
    path.write_text("old")
    assert not remote_paths.is_written(path, "")
    assert remote_paths.is_written(path, "old")


def test_a_unit_that_started_before_its_file_changed_is_stale_and_one_that_is_down_is_not():
    changes = {"a": {A: 10.0, B: 30.0}, "b": {A: 10.0}, "c": {A: 10.0}}
    found = select_stale(changes, {"a": 20.0, "b": 5.0, "c": None})
    assert found == [StaleUnit("a", (B,)), StaleUnit("b", (A,))]
    assert str(found[1]) == f"b runs with an earlier {A}"
    assert select_stale(changes, dict.fromkeys(changes, 40.0)) == []


def test_surfaces_reload_their_settings_and_restart_for_another_unit_file():
    assert StaleUnit("ouroboros-web@main", (Path("/etc/oroboros/web.env"),)).can_reload
    assert StaleUnit("ouroboros-caddy", (Path("/etc/oroboros/web.env"),)).can_reload
    assert not StaleUnit("ouroboros-web@main", (B,)).can_reload
    assert not StaleUnit("ouroboros-worker", (A,)).can_reload


def test_every_lasting_unit_of_the_control_plane_has_the_files_that_it_reads():
    config = configuration.load({"OROBOROS_SLOTS": "2"})
    files = list_read_files(config)
    wanted = {"ouroboros-api", "ouroboros-worker", "ouroboros-caddy", "ouroboros-web@main"}
    assert wanted < set(files)
    assert "ouroboros-web@preview2" in files
    assert "ouroboros-web@preview3" not in files
    assert config.env_dir / "web.env" in files["ouroboros-web@main"]
    imported = {path.name for path in files["ouroboros-caddy"]}
    assert {"routes.caddy", "absent_parts.caddy", "remove_worker.caddy"} <= imported


def test_misspelt_settings_are_reported_with_the_setting_that_is_meant():
    names = ("MERGE_GATE_GIT_PUSH_MOD", "PREVIEW_TTL", "SECRET_KEY", "https_proxy", "MY_OWN")
    unknown = find_unknown_names(names)
    assert unknown == {
        "MERGE_GATE_GIT_PUSH_MOD": "MERGE_GATE_GIT_PUSH_MODE",
        "PREVIEW_TTL": "",
        "MY_OWN": "",
    }
    finding = findings.judge_names("worker.env", unknown)
    assert not finding.is_ok
    assert "MERGE_GATE_GIT_PUSH_MOD: did you mean MERGE_GATE_GIT_PUSH_MODE?" in finding.observed
    assert findings.judge_names("worker.env", {"MY_OWN": ""}).is_ok


@pytest.mark.parametrize(
    ("finding", "observed", "remedy"),
    [
        (findings.judge_stale_units("x runs with an earlier y"), "x runs", "apply-settings.sh"),
        (findings.judge_caddy("/c", False), "/c is missing", "systemd-install-runtime.sh"),
        (findings.judge_log_folder(["/tmp/a.log"]), "/tmp/a.log", "systemd-install-runtime.sh"),
        (findings.judge_push_access("no"), "no", "chown -R oroboros:"),
        (findings.judge_timer("a.timer", "inactive"), "inactive", "systemctl start a.timer"),
    ],
)
def test_a_fault_has_its_remedy(finding, observed, remedy):
    assert not finding.is_ok
    assert observed in finding.observed
    assert remedy in finding.remedy


def test_units_of_slots_above_the_number_are_removed_and_no_others():
    names = ["ouroboros-web@preview3", "ouroboros-preview@preview-3", "ouroboros-web@preview2",
             "ouroboros-process-preview-12@worker.2", "ouroboros-web@main", "ouroboros-api",
             "ouroboros-app@blue", "ouroboros-preview@preview-1"]  # fmt: skip
    assert list_removed_units(names, {1, 2}) == [
        "ouroboros-preview@preview-3",
        "ouroboros-process-preview-12@worker.2",
        "ouroboros-web@preview3",
    ]
