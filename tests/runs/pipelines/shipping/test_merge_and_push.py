"""Merge and push as steps on a real repository and remote, without previews and production."""

import subprocess
from dataclasses import replace

import pytest

from host import config as configuration
from host.git.bare_repository import get_repository
from runs.engine import journal
from runs.engine.step_context import StepContext
from runs.engine.step_errors import PipelineRestart, StepFailed
from runs.models import Run
from runs.pipelines import shipping
from tests.factories import ApprovalFactory, RunFactory
from tests.host.git.laptop import Checkout
from tests.runs.pipelines.shipping.world import GIT

pytestmark = pytest.mark.django_db

STEPS = {step.name: step for step in shipping.STEPS}
MAIN = "refs/heads/main"


class Host:
    """Our repository and its remote, both at `base`; each commit has a file of its own."""

    def __init__(self, folder):
        self.remote, self.away = folder / "remote.git", folder / "away.git"
        environ = {
            "PATH": GIT["PATH"],
            "OROBOROS_VAR": str(folder / "var"),
            "GIT_REMOTE_URL": str(self.remote),
            "GIT_LOCAL_ROOTS": str(folder),
            "MERGE_GATE_GIT_PUSH_MODE": "auto",
        }
        self.config = configuration.load(environ)
        self.repo = get_repository(self.config)
        self.repo.create_if_missing()
        self.git("init", "-q", "--bare", str(self.remote))
        self.base = self.commit("base")
        self.push(self.base)
        self.repo.update_ref(MAIN, self.base, None)

    def git(self, *words, text=None):
        argv = ["git", f"--git-dir={self.repo.path}", *words]
        done = subprocess.run(argv, env=GIT, input=text, text=True, check=True, capture_output=True)
        return done.stdout.strip()

    def commit(self, name, *parents):
        """Create a commit in our repository, with the file `name`."""
        blob = self.git("hash-object", "-w", "--stdin", text=name)
        entries = [f"100644 blob {blob}\t{name}"]
        entries += self.git("ls-tree", parents[0]).splitlines() if parents else []
        tree = self.git("mktree", text="\n".join(entries))
        names = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree, *names, "-m", name)

    def push(self, commit):
        """Move the remote's main to the commit."""
        self.git("push", "-q", "--force", str(self.remote), f"{commit}:{MAIN}")

    def our_main(self):
        return self.repo.resolve_ref(MAIN)

    def remote_main(self):
        return self.repo.read_remote_head(str(self.remote), "main")


@pytest.fixture
def host(settings, tmp_path):
    made = Host(tmp_path)
    settings.OROBOROS = made.config
    return made


@pytest.fixture
def run(host):
    """A run whose candidate was made on `base`, before it is merged."""
    branch = host.commit("branch", host.base)
    candidate = host.commit("candidate", host.base, branch)
    made = RunFactory(
        status="merging", branch="", commit_sha=branch, base_sha=host.base, candidate_sha=candidate
    )
    ApprovalFactory(run=made)
    host.repo.update_ref(shipping.candidate_ref(made), candidate, None)
    return made


@pytest.fixture
def context(host, run, tmp_path):
    claim = Run.objects.claim(run.pk, "a worker")
    return StepContext(host.config, tmp_path / "log", "job", run, claim, STEPS["push"], 1, 1)


def test_candidate_is_merged_and_pushed_if_both_mains_are_at_its_base(host, run, context):
    shipping.merge(context)
    assert (host.our_main(), host.remote_main()) == (run.candidate_sha, host.base)
    shipping.push(context)
    assert (host.remote_main(), run.pushed) == (run.candidate_sha, True)


def test_main_that_moved_here_after_the_candidate_was_made_restarts_the_pipeline(
    host, run, context
):
    moved = host.commit("moved", host.base)
    assert host.repo.update_ref(MAIN, moved, host.base)
    with pytest.raises(PipelineRestart, match="main moved") as restart:
        shipping.merge(context)
    assert restart.value.step == "candidate"
    assert host.our_main() == moved
    # Else the probe would find the outdated candidate again.
    assert host.repo.resolve_ref(shipping.candidate_ref(run)) is None


@pytest.mark.parametrize("mode", ["auto", "manual", "dry-run"])
def test_remote_that_moved_restarts_the_pipeline_only_if_it_is_pushed_to(host, run, context, mode):
    host.push(host.commit("moved", host.base))
    host.config.environ["MERGE_GATE_GIT_PUSH_MODE"] = mode
    if mode == "auto":
        with pytest.raises(PipelineRestart, match="the remote's main moved"):
            shipping.merge(context)
        assert host.our_main() == host.base
    else:
        shipping.merge(context)
        assert host.our_main() == run.candidate_sha


def test_push_that_the_remote_refuses_undoes_the_merge_and_says_what_to_do(host, run, context):
    hook = host.remote / "hooks" / "update"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    shipping.merge(context)
    with pytest.raises(StepFailed) as failed:
        shipping.push(context)
    assert failed.value.code == "DEPLOY_PUSH_FAILED"
    sha = run.candidate_sha[:12]
    assert failed.value.detail.startswith(
        f"The remote did not accept {sha}; nothing is merged or deployed.\n"
    )
    assert failed.value.next_action
    assert (host.our_main(), host.remote_main()) == (host.base, host.base)


def test_head_of_the_remote_is_fetched_if_its_commit_is_not_here(host, run, tmp_path):
    checkout = Checkout(tmp_path / "laptop")
    commit = checkout.commit("main", {"a.txt": "x"})
    checkout.git("push", "-q", "--force", str(host.remote), "main")
    errors = []
    assert shipping.fetch_remote_head(host.config, host.repo, errors.append) == commit
    assert (errors, host.repo.has_commit(commit)) == ([], True)
    host.remote.rename(host.away)
    assert shipping.fetch_remote_head(host.config, host.repo, errors.append) is None
    assert len(errors) == 1


def test_push_that_arrived_is_found_after_its_answer_was_lost_and_the_remote_moved_on(
    host, run, context
):
    later = host.commit("later", run.candidate_sha)
    host.push(later)
    assert host.our_main() == host.base  # the merge was undone with the failed push
    shipping.push(context)
    assert (host.our_main(), host.remote_main()) == (run.candidate_sha, later)
    assert run.pushed is True
    assert shipping.probe_push(context) == {"pushed": True}


@pytest.mark.full
def test_main_that_moves_here_at_each_merge_ends_the_run_at_the_limit(host, run):
    merged = []

    def move_and_merge(context):
        merged.append(host.commit(f"moved{len(merged)}", host.our_main()))
        assert host.repo.update_ref(MAIN, merged[-1], host.our_main())
        shipping.merge(context)

    steps = [STEPS["candidate"], replace(STEPS["merge"], act=move_and_merge)]
    with pytest.raises(StepFailed, match=r"restarted 5 times.*main moved") as failed:
        journal.run_pipeline(host.config, run, Run.objects.claim(run.pk, "a worker"), steps)
    assert failed.value.code == "HOST_REFUSED"
    assert len(merged) == 5
    assert host.our_main() == merged[-1]


@pytest.mark.parametrize(
    ("remote", "pushed", "is_removed"),
    [
        ("at the base", None, True),
        ("silent", None, True),
        pytest.param("at the candidate", None, False, marks=pytest.mark.full),
        ("beyond the candidate", None, False),
        pytest.param("at the base", False, True, marks=pytest.mark.full),
        ("silent", True, False),
    ],
)
def test_failed_run_is_removed_from_main_unless_the_remote_has_its_commit(
    host, run, remote, pushed, is_removed
):
    host.repo.update_ref(MAIN, run.candidate_sha, host.base)
    Run.objects.filter(pk=run.pk).update(pushed=pushed)
    run.refresh_from_db()
    if remote == "silent":
        host.remote.rename(host.away)
    elif remote != "at the base":
        is_at = remote == "at the candidate"
        host.push(run.candidate_sha if is_at else host.commit("later", run.candidate_sha))
    assert shipping.remove_from_target_branch(host.config, run) is is_removed
    assert host.our_main() == (host.base if is_removed else run.candidate_sha)
