"""Commits in our repository, made without a checkout."""

import subprocess

from tests.runs.pipelines.shipping.world import GIT


def run_git(repo, *words, stdin=""):
    """Run git on the repository; returns what it printed."""
    argv = ["git", f"--git-dir={repo.path}", *words]
    done = subprocess.run(argv, env=GIT, check=True, capture_output=True, text=True, input=stdin)
    return done.stdout.strip()


def make_commit(repo, name, *parents):
    """Commit the file `<name>.txt` alone; returns the commit's id."""
    blob = run_git(repo, "hash-object", "-w", "--stdin", stdin=name)
    tree = run_git(repo, "mktree", stdin=f"100644 blob {blob}\t{name}.txt\n")
    options = [word for parent in parents for word in ("-p", parent)]
    return run_git(repo, "commit-tree", "-m", name, *options, tree)
