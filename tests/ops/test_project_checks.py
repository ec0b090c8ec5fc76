"""What the project's checks run, and as whom."""

from host import config as configuration
from ops import project_checks


def test_tests_of_users_files_and_processes_run_as_an_ordinary_user(monkeypatch):
    calls, given = [], []
    monkeypatch.setattr(project_checks.ownership, "give_tree", lambda *call: given.append(call))
    monkeypatch.setattr(
        project_checks, "run_streamed", lambda config, *call: calls.append(call) or len(calls) - 1
    )
    config = configuration.load({})
    results = [project_checks.run_as_ordinary_user(config, {}, full) for full in (False, True)]
    assert results == [True, False]
    for (title, argv, env, user), (folder, owner) in zip(calls, given, strict=True):
        assert title == "tests as an ordinary user"
        assert user == owner and user.uid != 0
        assert (env["HOME"], env["CI"]) == (str(folder), "false")
        paths = argv[argv.index("tests/system") :]
        assert {"tests/host/process", "tests/host/files"} <= {*paths}
        assert [path for path in paths if not (configuration.HOME / path).exists()] == []
    quick, full = (argv for _, argv, _, _ in calls)
    assert quick[quick.index("-k") + 1] == "not (system and killed)"
    assert "not root and not alone and not full" in quick
    assert "-k" not in full and "not root and not alone" in full


def test_packages_are_missing_that_dpkg_has_not_installed(monkeypatch, tmp_path):
    program = tmp_path / "dpkg-query"
    program.write_text("#!/bin/sh\necho 'here installed'\necho 'gone config-files'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    names = ["here", "gone", "unknown"]
    assert project_checks.list_missing_packages(names) == ["gone", "unknown"]
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert project_checks.list_missing_packages(names) == names
