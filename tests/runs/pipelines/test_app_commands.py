"""What is refused before anything is installed."""

from types import SimpleNamespace

import pytest

from host.git.checkout_notes import LeftOut
from runs.engine.step_errors import StepFailed
from runs.pipelines import app_commands


def refuse(public_dir, builds=()):
    app = SimpleNamespace(
        manifest=SimpleNamespace(public_dir=public_dir), plan=SimpleNamespace(builds=builds)
    )
    left_out = LeftOut(pointers=["site/logo.png", "design/logo.psd"])
    repo = SimpleNamespace(find_left_out=lambda commit: left_out)
    app_commands.refuse_served_pointers(app, repo, SimpleNamespace(commit_sha="c" * 40))


@pytest.mark.parametrize("public_dir", [".", "site"])
def test_a_pointer_of_git_lfs_that_would_be_served_is_refused_by_name(public_dir):
    with pytest.raises(StepFailed, match=r"site/logo\.png") as failed:
        refuse(public_dir)
    assert failed.value.code == "BUILD_FAILED"
    assert ("design" in failed.value.detail) == (public_dir == ".")
    assert "git lfs migrate export" in failed.value.next_action


@pytest.mark.parametrize(
    ("public_dir", "builds"), [("other", ()), ("site", ("build",)), (None, ())]
)
def test_a_pointer_that_is_not_served_as_committed_passes(public_dir, builds):
    refuse(public_dir, builds)
