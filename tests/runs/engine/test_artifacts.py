"""Where artifacts and logs are stored."""

from dataclasses import replace

from django.conf import settings

from runs.engine import artifacts
from runs.models import Run


def test_an_artifact_lies_below_its_run_by_generation(tmp_path):
    config, run = replace(settings.OROBOROS, var=tmp_path), Run(generation=2)
    path = artifacts.artifact_path(config, run, "build_log")
    assert path == tmp_path / "artifacts" / str(run.pk) / "2-build_log"
    assert artifacts.relative_artifact_path(config, path) == f"{run.pk}/2-build_log"


def test_the_folder_of_a_log_is_created(tmp_path):
    config = replace(settings.OROBOROS, var=tmp_path)
    path = artifacts.create_log_path(config, "queue")
    assert (path, path.parent.is_dir()) == (tmp_path / "log" / "queue.log", True)
