"""The doctor's checks of the git remote."""

from host import config as configuration
from ops.doctor import git_checks


def test_a_local_repository_that_cannot_be_pushed_to_is_a_fault_and_other_remotes_are_not_asked(
    tmp_path,
):
    def check(url):
        settings = {"GIT_REMOTE_URL": str(url), "GIT_LOCAL_ROOTS": str(tmp_path)}
        return list(git_checks.check_push_access(configuration.load(settings)))

    [absent] = check(tmp_path / "team.git")
    assert not absent.is_ok
    assert f"{tmp_path}/team.git cannot be written" in absent.observed
    (tmp_path / "team.git" / "objects").mkdir(parents=True)
    (tmp_path / "work" / ".git" / "objects").mkdir(parents=True)
    for name in ("team.git", "work"):
        [found] = check(tmp_path / name)
        assert found.is_ok
    assert check("ssh://git@git.example/team.git") == []
