"""A build of the target branch's template database that ends with its worker."""

import pytest

from host.errors import Refused
from host.postgres import guard
from host.postgres.administration import DatabaseAdmin
from host.process import shutdown
from host.units.jobs import JobInterrupted
from runs.engine.step_errors import StepFailed
from runs.pipelines import template_databases
from runs.repository import open_repository

# What a shutdown makes of the commands, and of the next step after it.
ENDS = {
    "a command was killed": StepFailed("MIGRATION_FAILED", "migrate was ended by signal 9."),
    "a job was stopped": JobInterrupted("ouroboros-job@job-1.service"),
    "a job was refused": Refused("job_refused", "Transaction is destructive."),
    "it saw it itself": None,
}


def test_a_build_that_ends_with_its_worker_says_nothing_about_the_target_branch(place, monkeypatch):
    name = guard.template_name(place.commit("main", {"README.md": "main goes on"}))
    open_repository(place.config).fetch(str(place.remote))
    admin = DatabaseAdmin(place.config)
    for end, error in ENDS.items():

        def end_with_the_worker(context, app, variables, error=error):
            shutdown.begin()
            if error is not None:
                raise error
            context.raise_if_stopping()

        with monkeypatch.context() as worker:
            worker.setattr(shutdown, "_state", bytearray(b"\1\0"))
            worker.setattr(template_databases, "_migrate_and_seed", end_with_the_worker)
            assert template_databases.build_current_template(), end
        assert not admin.has_template(name), end
        failures = place.config.var.glob(f"templates/*{template_databases.FAILURE_SUFFIX}")
        assert list(failures) == [], end

    def refuse(context, app, variables):
        raise ENDS["a job was refused"]

    with monkeypatch.context() as worker:  # one that goes on
        worker.setattr(template_databases, "_migrate_and_seed", refuse)
        with pytest.raises(Refused, match="destructive"):
            template_databases.build_current_template()
    assert template_databases.build_current_template() == ""
    assert admin.has_template(name)
