"""A host like that of the pipelines' tests, for another application than ours."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

from host import config as configuration
from runs.engine.artifacts import artifacts_folder
from runs.lifecycle import execution, operations
from runs.models import Run
from tests.environment import free_offset
from tests.runs.pipelines.shipping.world import World
from tests.service import database_url
from tests.system.host import wait_for

# Beyond what the other world of the same session may have: a clean slot kills all of its uid.
UIDS = 1_000_000


class Host(World):
    """A world whose remote has the files of `application` as its main."""

    def __init__(self, application):
        self.application = application
        super().__init__()

    def _config(self, *given):
        config = super()._config(*given)
        return replace(config, uid_base=config.uid_base + UIDS)

    def _make_remote(self, *given):
        self.git("init", "-q", "--bare", "--initial-branch=main", str(self.remote))
        shutil.copytree(self.application, self.clone, symlinks=True)
        for words in (
            ("init", "-q", "--initial-branch=main"),
            ("remote", "add", "origin", str(self.remote)),
            ("add", "-A"),
            ("commit", "-q", "-m", "an application"),
            ("push", "-q", "origin", "main"),
        ):
            self.git(*words, cwd=self.clone)

    @property
    def slot(self):
        """The slot that a first run gets."""
        return self.config.slots[0]

    def page(self, path="/", **options):
        """Ask the first slot's surface as a browser would."""
        headers = {"Host": f"preview1.localhost:{self.slot.web_port}"} | options.pop("headers", {})
        return self.get(self.slot.web_port, path, headers=headers, **options)

    def carry(self, branch, files):
        """Commit the files on the branch and carry a run of it as far as it goes."""
        self.commit(branch, files)
        run = operations.create_run(title=branch, branch=branch, actor="ada")
        execution.execute_run(run.pk)
        return Run.objects.get(pk=run.pk)

    def preview(self, branch, files):
        """Carry a run of the branch to `preview_ready`."""
        run = self.carry(branch, files)
        assert run.status == "preview_ready", (run.failure_code, run.failure_detail)
        return run

    def artifact(self, run, name):
        """Return what the run's artifact of that name says."""
        path = run.artifacts.get(name=name).path
        return (artifacts_folder(self.config) / path).read_text()


class WorkedHost(Host):
    """A host with a real worker, which reads the same configuration from its environment."""

    def _config(self, more):
        offset = free_offset()
        uids = 2 * UIDS + 100 * (os.getpid() % 5000)
        own = {"OROBOROS_PORT_OFFSET": str(offset), "OROBOROS_UID_BASE": str(uids)}
        return configuration.load(dict(super()._config({**more, **own}).environ))

    @contextmanager
    def working(self):
        """Have the worker look after this host while the body lasts."""
        argv = [sys.executable, str(configuration.HOME / "manage.py"), "run_worker"]
        env = {**self.config.environ, "DATABASE_URL": database_url()}
        with (self.folder / "worker.log").open("wb") as log:
            worker = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        try:
            wait_for(self._is_well, 60, "the worker is not well")
            yield
        finally:
            worker.terminate()
            worker.wait(120)

    def _is_well(self):
        try:
            return self.get(self.config.worker_port, "/health").status_code == 200
        except OSError:
            return False
