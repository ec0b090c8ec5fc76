"""Makes the projects that the tests preview."""

import subprocess


def run_starter(*argv, cwd):
    """Run a starter in `cwd`; what reaches the package registries is in our environment."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def write_files(folder, files):
    """Write the files, by their path in the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
