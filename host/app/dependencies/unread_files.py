"""Names the files of an application that other tools and hosts read, and nothing here does."""

from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

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
    "build.sbt": "sbt",
    "project.clj": "Leiningen",
    "Package.swift": "Swift",
    "pubspec.yaml": "Dart",
    "gleam.toml": "Gleam",
    "shard.yml": "Shards",
    "stack.yaml": "Stack",
}
# The same for what has a name of its own.
UNREAD_ENDINGS = {".csproj": ".NET", ".fsproj": ".NET", ".vbproj": ".NET", ".cabal": "Cabal"}
# Where other hosts look for code that answers requests, without a server of the application's own.
FUNCTIONS = {
    "api": "Vercel",
    "functions": "Cloudflare Pages",
    "netlify/functions": "Netlify",
    "netlify/edge-functions": "Netlify",
    "supabase/functions": "Supabase",
}
CODE = (".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".jsx", ".py", ".go", ".rb", ".rs")
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


def describe_lone_frontend(tree: SourceTree, frontend: str, folders: Iterable[str]) -> list[str]:
    """Return a note on each backend that an application without a server seems to have.

    `folders` are those in which backends lie, but for the ones that are read.
    """
    functions = (
        (f"The code in {join(folder, name)} is not run here, as {host} does", folder, name)
        for folder in dict.fromkeys((".", frontend))
        for name, host in FUNCTIONS.items()
        # Below a frontend's folder, `api` is usually what its pages call a server with.
        if folder == "." or "/" in name
    )
    found = [
        *(text for text, *path in functions if _has_code(tree, "/".join(path))),
        *(
            f"{join(folder, name)} is not read here"
            for folder in folders
            for name in (*UNREAD, "Dockerfile", *dict(_list_endings(tree, folder)))
            if tree.has_file(f"{folder}/{name}")
        ),
    ]
    return [
        f"{text}: there is no backend, so only the frontend's files are served. Write the server's "
        "command as `web:` into a Procfile."
        for text in found
    ]


def _has_code(tree: SourceTree, folder: str) -> bool:
    folders = (folder, *(f"{folder}/{name}" for name in tree.list_folders(folder)))
    return any(name.endswith(CODE) for one in folders for name in tree.list_files(one))


def describe_unread_files(
    tree: SourceTree, folders: Iterable[str], read: Collection[str] = ()
) -> list[str]:
    """Return a note on each such file in one of the folders, but for the names in `read`."""
    found = [
        (join(folder, name), tool)
        for folder in dict.fromkeys(folders)
        for name, tool in (*UNREAD.items(), *_list_endings(tree, folder))
        if name not in read and tree.has_file(f"{folder}/{name}")
    ]
    return [
        f"{path} is not read here, because no command needs it: {tool} is not run;"
        " write what it needs as [backend] install into oroboros.toml."
        for path, tool in found
    ]


def _list_endings(tree: SourceTree, folder: str) -> list[tuple[str, str]]:
    names = tree.list_files(folder)
    tools = ((name, UNREAD_ENDINGS.get(PurePosixPath(name).suffix)) for name in names)
    return [(name, tool) for name, tool in tools if tool is not None]
