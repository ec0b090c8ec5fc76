"""Plans the packages of Ruby, PHP and Go, which the host's toolchain installs within the tree.

They are not shared: what the packages' own scripts read of the tree is not known.
"""

import re
from collections.abc import Collection, Iterator
from itertools import product

from host.app.command_line import Argv
from host.app.dependencies.install import Install, build_install
from host.app.dependencies.project_files import join
from host.errors import ApplicationRefused
from host.files.source_tree import SourceTree

# The file that names the packages, and the programs of which one is started where they are used.
FILES = {"ruby": "Gemfile", "php": "composer.json", "go": "go.mod"}
PROGRAMS = {
    "ruby": ("bundle", "ruby", "rake", "rails", "rackup"),
    "php": ("php", "composer"),
    "go": ("go",),
}
# The files of version managers (rbenv, phpenv, goenv), which no tool here reads.
VERSION_FILES = {"ruby": ".ruby-version", "php": ".php-version", "go": ".go-version"}
LANGUAGES = {"ruby": "Ruby", "php": "PHP", "go": "Go"}
GO_REQUIRE = re.compile(r"^\s*require\b", re.MULTILINE)
COMPOSER = (
    *("composer", "install", "--no-interaction", "--no-progress", "--prefer-dist"),
    "--optimize-autoloader",
)


def find_used(programs: Collection[str]) -> list[str]:
    """Return the languages of which a command starts one of these programs."""
    return [kind for kind, names in PROGRAMS.items() if set(names) & set(programs)]


def note_versions(
    tree: SourceTree, kinds: Collection[str], folders: Collection[str]
) -> Iterator[str]:
    """Yield a note on each version that one of the folders asks for: the host's is used."""
    for kind, folder in product(kinds, dict.fromkeys(folders)):
        name = VERSION_FILES[kind]
        if text := tree.read_source(f"{folder}/{name}").strip():
            asked, language = text.split("\n")[0].strip(), LANGUAGES[kind]
            yield f"{join(folder, name)} asks for {asked}; {language} is that of this host."


def plan_toolchain(
    tree: SourceTree, kind: str, folders: Collection[str], *, has_development: bool
) -> Install | None:
    """Return the install in the first folder that has packages of the language; None without.

    Raises ApplicationRefused `manifest_invalid`.
    """
    name = FILES[kind]
    folder = next((one for one in folders if tree.has_file(f"{one}/{name}")), None)
    if folder is None:
        return None
    commands = PLANNERS[kind](tree, folder, has_development)
    if not commands:
        return None
    # Not the lock file, which the install itself may write: its key would be another one after it.
    return build_install(tree, kind, folder, commands, version="", shared=False, files=(name,))


def _plan_ruby(tree: SourceTree, folder: str, has_development: bool) -> tuple[Argv, ...]:
    """Return the commands; the gems lie in GEM_HOME, and those of the distribution count too.

    Raises ApplicationRefused `manifest_invalid` without a lock file, as Heroku does.
    """
    if not tree.has_file(f"{folder}/Gemfile.lock"):
        path = join(folder, "Gemfile")
        detail = f"{path} has no Gemfile.lock: run `bundle lock` and commit it."
        raise ApplicationRefused("manifest_invalid", detail, fields={"file": path})
    settings = {"frozen": "true"} | ({} if has_development else {"without": "development:test"})
    config = ("bundle", "config", "set", "--local")
    return (*((*config, key, value) for key, value in settings.items()), ("bundle", "install"))


def _plan_php(tree: SourceTree, folder: str, has_development: bool) -> tuple[Argv, ...]:
    return ((*COMPOSER, *(() if has_development else ("--no-dev",))),)


def _plan_go(tree: SourceTree, folder: str, has_development: bool) -> tuple[Argv, ...]:
    """Return what puts the modules beside the code: a build has no network and no cache."""
    needs = GO_REQUIRE.search(tree.read_source(f"{folder}/go.mod"))
    if not needs or tree.has_file(f"{folder}/vendor/modules.txt"):
        return ()
    return (("go", "mod", "vendor"),)


PLANNERS = {"ruby": _plan_ruby, "php": _plan_php, "go": _plan_go}
