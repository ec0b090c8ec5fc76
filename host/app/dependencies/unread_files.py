"""Names the files of an application that other tools and hosts read, and nothing here does."""

from collections.abc import Collection, Iterable

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
    "deno.lock": "Deno",
}
# Files of other hosts, and what has no effect here.
CONTAINERS = "there are no containers here: Procfile and oroboros.toml say what runs"
ROUTES = "its redirects, rewrites and headers have no effect here"
PLATFORM = "Procfile and oroboros.toml say here what is built and run"
PLATFORM_FILES = {
    **dict.fromkeys(("Dockerfile", "docker-compose.yml", "docker-compose.yaml"), CONTAINERS),
    **dict.fromkeys(("compose.yml", "compose.yaml", "heroku.yml"), CONTAINERS),
    **dict.fromkeys(("vercel.json", "netlify.toml", "_redirects", "_headers"), ROUTES),
    **dict.fromkeys(("fly.toml", "render.yaml", "railway.json", "railway.toml"), PLATFORM),
    **dict.fromkeys(("nixpacks.toml", "railpack.json", "project.toml"), PLATFORM),
    "Aptfile": "have the operator install these packages of the system on the host",
    **dict.fromkeys(("procfile", "Procfile.txt"), "name it Procfile"),
    "oroboros.toml.txt": "name it oroboros.toml",
}
# Where a frontend has the files that its build copies to the output.
COPIED_FOLDERS = ("public", "static")


def describe_platform_files(tree: SourceTree, frontend: str) -> list[str]:
    """Return a note on each such file of the tree's top, of the frontend, or of what it copies."""
    folders = dict.fromkeys((".", frontend, *(f"{frontend}/{name}" for name in COPIED_FOLDERS)))
    return [
        f"{join(folder, name)} is not read here: {effect}."
        for folder in folders
        for name, effect in PLATFORM_FILES.items()
        if tree.has_file(f"{folder}/{name}")
    ]


def describe_unread_files(
    tree: SourceTree, folders: Iterable[str], read: Collection[str] = ()
) -> list[str]:
    """Return a note on each such file in one of the folders, but for the names in `read`."""
    return [
        f"{join(folder, name)} is not read here, because no command needs it: {tool} is not run;"
        " write what it needs as [backend] install into oroboros.toml."
        for folder in dict.fromkeys(folders)
        for name, tool in UNREAD.items()
        if name not in read and tree.has_file(f"{folder}/{name}")
    ]
