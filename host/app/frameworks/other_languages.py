"""Recognizes servers in Ruby, PHP and Go, which the host's own toolchain runs.

They start as on Heroku where it has a convention. Nothing of the tree is executed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from host.app.dependencies.project_files import get_table, join, read_json
from host.files.source_tree import SourceTree

# The framework, fields of the Manifest, and the files that say so.
Found = tuple[str, dict[str, Any], tuple[str, ...]]

# Those that build their pages' assets with Node themselves, into a folder of their own.
WITH_ASSETS = ("Rails", "Laravel")
# As Heroku's buildpack sets them. GEM_HOME is relative to the folder of the backend.
# Source: https://devcenter.heroku.com/articles/ruby-support-reference
RUBY_VARIABLES = {
    "GEM_HOME": "vendor/bundle",
    "RACK_ENV": "production",
    "RAILS_ENV": "production",
    "RAILS_LOG_TO_STDOUT": "enabled",
    "RAILS_SERVE_STATIC_FILES": "enabled",
}
# By default it lies in the tree, which is read-only. Two colours run at once, and a file that
# outlives its process could name another one: `rails server` would not start.
RAILS_PID_FILE = {"PIDFILE": "/tmp/rails-$PORT.pid"}  # noqa: S108 each process has its own /tmp
# Without it the built-in server answers one request at a time.
# Source: https://www.php.net/manual/en/features.commandline.webserver.php
PHP_VARIABLES = {"PHP_CLI_SERVER_WORKERS": "4"}
SINATRA_FILES = ("app.rb", "main.rb", "server.rb", "web.rb")
SINATRA = re.compile(r"^\s*require\s+[\"']sinatra[\"']", re.MULTILINE)
LARAVEL_ROUTER = "vendor/laravel/framework/src/Illuminate/Foundation/resources/server.php"
GO_MODULE = re.compile(r"^module\s+\"?([^\s\"]+)", re.MULTILINE)
GO_MAIN = re.compile(r"^package main\b", re.MULTILINE)
GO_FOLDERS = ("web", "server", "api", "app")  # of cmd/, if it has several
GO_FILES = ("main.go", "server.go", "app.go", "web.go", "cmd.go")


def detect(tree: SourceTree, folder: str) -> Found | None:
    """Return how a server in the folder is built and started; None if none is recognized."""
    return _detect_ruby(tree, folder) or _detect_php(tree, folder) or _detect_go(tree, folder)


def _detect_ruby(tree: SourceTree, folder: str) -> Found | None:
    if not tree.has_file(f"{folder}/Gemfile"):
        return None
    gemfile = tree.read_source(f"{folder}/Gemfile")
    if tree.has_file(f"{folder}/config/application.rb") and re.search(r"\brails\b", gemfile):
        return (
            "Rails",
            _describe_rails(tree, folder, gemfile),
            (join(folder, "config/application.rb"),),
        )
    if tree.has_file(f"{folder}/config.ru"):
        name, file = "Rack", "config.ru"
        words = _find_puma(gemfile) or ("rackup", "-o", "127.0.0.1", "-p", "$PORT")
    else:
        texts = {file: tree.read_source(f"{folder}/{file}") for file in SINATRA_FILES}
        name, file = "Sinatra", next((one for one in texts if SINATRA.search(texts[one])), "")
        words = ("ruby", file, "-o", "127.0.0.1", "-p", "$PORT")
    if not file:
        return None
    rakefile = tree.read_source(f"{folder}/Rakefile")
    release = {"release": _bundle("rake", "db:migrate")} if "activerecord" in rakefile else {}
    fields = {"web": _bundle(*words), **release, **_ruby_fields()}
    return name, fields, (join(folder, file), join(folder, "Gemfile"))


def _bundle(*words: str) -> tuple[str, ...]:
    return ("bundle", "exec", *words)


def _ruby_fields() -> dict[str, Any]:
    return {"health_path": "/", "env_detected": RUBY_VARIABLES}


def _find_puma(gemfile: str) -> tuple[str, ...] | None:
    words = ("puma", "-b", "tcp://127.0.0.1:$PORT")
    return words if re.search(r"\bpuma\b", gemfile) else None


def _describe_rails(tree: SourceTree, folder: str, gemfile: str) -> dict[str, Any]:
    server = ("rails", "server", "-b", "127.0.0.1", "-p", "$PORT")
    # `rails server` makes the folders of tmp/ when it starts, unless they exist.
    builds = [_bundle("rails", "tmp:create")]
    if {"assets", "javascript"} & set(tree.list_folders(f"{folder}/app")):
        builds.append(_bundle("rails", "assets:precompile"))
    has_database = tree.has_file(f"{folder}/config/database.yml")
    return {
        "web": _bundle(*(_find_puma(gemfile) or server)),
        "backend_build": tuple(builds),
        **({"release": _bundle("rails", "db:migrate")} if has_database else {}),
        **_ruby_fields(),
        "env_detected": RUBY_VARIABLES | RAILS_PID_FILE,
        "env_generated": ("SECRET_KEY_BASE",),
    }


def _detect_php(tree: SourceTree, folder: str) -> Found | None:
    serve = ("php", "-S", "127.0.0.1:$PORT", "-t")
    fields: dict[str, Any] = {"health_path": "/", "env_detected": PHP_VARIABLES}
    required = get_table(read_json(tree, folder, "composer.json"), "require")
    if "laravel/framework" in required and tree.has_file(f"{folder}/artisan"):
        fields["web"] = (*serve, "public", LARAVEL_ROUTER)
        fields["release"] = ("php", "artisan", "migrate", "--force")
        return "Laravel", fields, (join(folder, "artisan"), join(folder, "composer.json"))
    for root in ("public", "web", "."):
        if tree.has_file(f"{folder}/{root}/index.php"):
            fields["web"] = (*serve, root)
            return "PHP", fields | _find_doctrine(required), (join(folder, f"{root}/index.php"),)
    return None


def _find_doctrine(required: Mapping[str, Any]) -> dict[str, Any]:
    if "doctrine/doctrine-migrations-bundle" not in required:
        return {}
    words = ("doctrine:migrations:migrate", "--no-interaction", "--allow-no-migration")
    return {"release": ("php", "bin/console", *words)}


def _detect_go(tree: SourceTree, folder: str) -> Found | None:
    match = GO_MODULE.search(tree.read_source(f"{folder}/go.mod"))
    programs = list(_list_go_programs(tree, folder, match[1])) if match else []
    if not programs:
        return None
    name = next((one for one in GO_FOLDERS if one in programs), programs[0])
    fields = {
        "web": (f"bin/{name}",),
        # As Heroku's buildpack does: each program of the module, by its own name.
        "backend_build": (("go", "build", "-o", "bin/", "./..."),),
        "health_path": "/",
    }
    return "Go", fields, (join(folder, "go.mod"),)


def _list_go_programs(tree: SourceTree, folder: str, module: str) -> Iterator[str]:
    """Yield the names that `go build` gives the module's programs, that of the root first."""
    if _is_go_main(tree, folder):
        yield re.sub(r"/v\d+$", "", module).rpartition("/")[2]
    for name in tree.list_folders(f"{folder}/cmd"):
        if _is_go_main(tree, f"{folder}/cmd/{name}"):
            yield name


def _is_go_main(tree: SourceTree, folder: str) -> bool:
    texts = (tree.read_source(f"{folder}/{name}") for name in GO_FILES)
    return any(GO_MAIN.search(text) for text in texts)
