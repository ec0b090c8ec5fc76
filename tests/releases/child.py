"""Ships or rolls back in a process of its own that kills itself at a named point.

python -m tests.releases.child <module:function> <before|after> ship <commit>
python -m tests.releases.child <module:function> <before|after> rollback <release_id>
"""

import importlib
import os
import signal
import sys
import uuid

RUN = uuid.UUID("11111111-2222-3333-4444-555555555555")


def ship(config, commit):
    """Build, switch and confirm as the pipeline does, under one key."""
    from host.git.bare_repository import Repository
    from releases.builds import build
    from releases.deployments import operations

    log = config.var / "log" / "ship.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    repository = Repository(config.var / "repo.git", config)
    release = build.build(config, repository, commit, RUN, log=log)
    activation = operations.switch_to(
        config, release.pk, actor="worker", reason="run", run_id=RUN, key=f"{RUN}:1", log=log
    )
    return operations.confirm(config, activation, log=log)


def rollback(config, release_id):
    from releases.deployments import operations

    return operations.rollback(config, release_id, actor="ann", reason="a test")


def die_at(point, when):
    """Make the function kill this process before or after it does its work."""
    module, _, name = point.partition(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = getattr(owner, last)

    def deadly(*args, **options):
        if when == "after":
            original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, last, deadly)


def main(point, when, verb, argument):
    import django

    django.setup()
    from django.conf import settings

    die_at(point, when)
    {"ship": ship, "rollback": rollback}[verb](settings.OROBOROS, argument)


if __name__ == "__main__":
    main(*sys.argv[1:])
