"""A process that deploys or rolls back and kills itself at a named function.

python -m tests.releases.killed_process <module:function> <before|after> deploy <commit>
python -m tests.releases.killed_process <module:function> <before|after> rollback <release_id>
"""

import importlib
import os
import signal
import sys
import uuid

RUN = uuid.UUID("11111111-2222-3333-4444-555555555555")


def deploy(config, commit):
    """Build and deploy as the pipeline does, with one key."""
    from host.git.bare_repository import Repository
    from releases.builds import build
    from releases.deployments import deploy_and_rollback

    log = config.var / "log" / "ship.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    repository = Repository(config.var / "repo.git", config)
    release = build.build_release(config, repository, commit, RUN, log=log)
    deployment = deploy_and_rollback.deploy_release(
        config, release.pk, actor="worker", reason="run", run_id=RUN, key=f"{RUN}:1", log=log
    )
    return deploy_and_rollback.complete_deployment(config, deployment, log=log)


def rollback(config, release_id):
    from releases.deployments import deploy_and_rollback

    return deploy_and_rollback.roll_back(config, release_id, actor="ann", reason="a test")


def kill_at(point, when):
    """Replace the function by one that kills this process before or after the call."""
    module, _, name = point.partition(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = getattr(owner, last)

    def call_and_kill(*args, **options):
        if when == "after":
            original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, last, call_and_kill)


def main(point, when, action, argument):
    import django

    django.setup()
    from django.conf import settings

    kill_at(point, when)
    {"deploy": deploy, "rollback": rollback}[action](settings.OROBOROS, argument)


if __name__ == "__main__":
    main(*sys.argv[1:])
