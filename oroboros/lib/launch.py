"""What our systemd templates execute: it reads what to run from its credential and becomes it.

The credential `unit` is the file that the manager wrote; only root and the unit's own user can
read it, so the unit's environment, with today's password, stands in no other place.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Become the unit's command, in its folder, with its environment and nothing else."""
    told = json.loads(Path(os.environ["CREDENTIALS_DIRECTORY"], "unit").read_text())
    try:
        os.chdir(told["cwd"])
        os.execvpe(told["argv"][0], told["argv"], told["env"])  # noqa: S606 — no shell is wanted
    except OSError as error:
        sys.exit(f"{told['argv'][0]} cannot be started: {error}")


if __name__ == "__main__":
    main()
