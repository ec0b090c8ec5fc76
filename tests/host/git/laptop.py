"""A checkout as a developer has it, which pushes nowhere: we fetch from it."""

import os
import subprocess

LINKED = "(a link)"  # the text of a file that is made a link to `attrs`


class Checkout:
    """A checkout on a laptop: no configuration of a user or of the host."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments, check=True):
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        argv = ["git", *identity, *arguments]
        done = subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, check=check)
        return done.stdout.decode()

    def commit(self, branch, files):
        self.git("checkout", "-q", "-B", branch)
        self.git("rm", "-rqf", "--ignore-unmatch", ".")
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text == LINKED:
                path.symlink_to("attrs")
            else:
                path.write_bytes(text.encode())
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD").strip()

    def merge(self, branch):
        """Merge the branch into the current one: the tree, and the files that conflict."""
        self.git("merge", "-q", "--no-edit", branch, check=False)
        conflicts = self.git("diff", "--name-only", "--diff-filter=U", "-z").split("\0")[:-1]
        return (None if conflicts else self.git("rev-parse", "HEAD^{tree}").strip(), conflicts)
