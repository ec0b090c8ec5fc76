"""A host like that of the pipelines' tests, for another application than ours."""

import shutil
from dataclasses import replace

from runs import journal, tasks
from runs.models import Run
from tests.pipeline.world import World

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
        run = tasks.create_run(title=branch, branch=branch, actor="ada")
        tasks.carry(run.pk)
        return Run.objects.get(pk=run.pk)

    def preview(self, branch, files):
        """Carry a run of the branch to `preview_ready`."""
        run = self.carry(branch, files)
        assert run.status == "preview_ready", (run.failure_code, run.failure_detail)
        return run

    def artifact(self, run, name):
        """Return what the run's artifact of that name says."""
        path = run.artifacts.get(name=name).path
        return (journal.artifacts_folder(self.config) / path).read_text()
