"""Names the lists of dependencies of an application that nothing here installs from."""

from collections.abc import Iterable

from host.app.dependencies.project_files import join
from host.files.source_tree import SourceTree

# The file in which a project of that kind names its dependencies.
UNREAD = {
    "Gemfile": "Bundler",
    "composer.json": "Composer",
    "go.mod": "Go",
    "Cargo.toml": "Cargo",
    "mix.exs": "Mix",
    "pom.xml": "Maven",
    "build.gradle": "Gradle",
    "build.gradle.kts": "Gradle",
    "deno.json": "Deno",
    "deno.jsonc": "Deno",
}


def describe_unread_files(tree: SourceTree, folders: Iterable[str]) -> list[str]:
    """Return a note on each such file in one of the folders."""
    return [
        f"{join(folder, name)} is not read here: packages of Python and Node.js are installed, and"
        f" {tool} is not run; write what it needs as [backend] install into oroboros.toml."
        for folder in dict.fromkeys(folders)
        for name, tool in UNREAD.items()
        if tree.has_file(f"{folder}/{name}")
    ]
