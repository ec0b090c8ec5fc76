"""How servers in Ruby, PHP and Go are recognized, installed, built and started."""

import json

import pytest

from host.app import manifest_loader, planning
from host.app.command_policy import check_command
from host.app.dependencies.install import Tools
from host.app.inspection.host_programs import require_toolchains
from host.errors import Refused
from tests.host.app.trees import write_tree

TOOLS = Tools("uv", "/usr/bin/python3", "/usr/bin/python3 Python 3.11.2", "npm", "v20.20.2")
SINATRA = {"Gemfile": 'gem "sinatra"\n', "Gemfile.lock": "", "app.rb": 'require "sinatra"\n'}
LARAVEL = {
    "artisan": "",
    "composer.json": json.dumps({"require": {"laravel/framework": "^12"}}),
    "package.json": json.dumps({"scripts": {"build": "x"}, "devDependencies": {"vite": "7"}}),
    "public/index.php": "",
}
RAILS = {
    "Gemfile": 'gem "rails"\n',
    "Gemfile.lock": "",
    "config/application.rb": "",
    "config/database.yml": "",
    "app/assets/a.css": "",
}
GO = {"go.mod": "module example.org/shop/v2\n", "main.go": "package main\n"}


@pytest.fixture
def plan(tmp_path):
    """Write files into a tree; returns its manifest and its plan."""

    def make(files, **options):
        write_tree(tmp_path, files)
        manifest = manifest_loader.load_manifest(tmp_path)
        return manifest, planning.make_plan(tmp_path, manifest, TOOLS, **options)

    return make


@pytest.mark.parametrize(
    ("files", "framework", "web"),
    [
        (SINATRA, "Sinatra", "bundle exec ruby app.rb -o 127.0.0.1 -p $PORT"),
        ({"Gemfile": 'gem "rack"', "Gemfile.lock": "", "config.ru": ""}, "Rack",
         "bundle exec rackup -o 127.0.0.1 -p $PORT"),
        ({"Gemfile": 'gem "puma"', "Gemfile.lock": "", "config.ru": ""}, "Rack",
         "bundle exec puma -b tcp://127.0.0.1:$PORT"),
        (RAILS, "Rails", "bundle exec rails server -b 127.0.0.1 -p $PORT"),
        (RAILS | {"Gemfile": 'gem "rails"\ngem "puma"\n'}, "Rails",
         "bundle exec puma -b tcp://127.0.0.1:$PORT"),
        ({"public/index.php": ""}, "PHP", "php -S 127.0.0.1:$PORT -t public"),
        ({"index.php": ""}, "PHP", "php -S 127.0.0.1:$PORT -t ."),
        (GO, "Go", "bin/shop"),
        ({"go.mod": "module m", "cmd/a/main.go": "package main", "cmd/server/main.go":
          "package main"}, "Go", "bin/server"),
    ],
)  # fmt: skip
def test_a_server_is_recognized_by_the_files_of_its_language(plan, files, framework, web):
    found, _ = plan(files)
    assert (found.framework, " ".join(found.web), found.health_path) == (framework, web, "/")


def test_gems_are_installed_without_their_groups_for_development(plan):
    _, found = plan(SINATRA)
    [_, gems] = found.installs
    lines = [" ".join(argv) for argv in gems.commands]
    assert lines[-1] == "bundle install"
    assert "bundle config set --local without development:test" in lines
    assert "bundle config set --local frozen true" in lines
    [_, checked] = plan({}, has_development=True)[1].installs
    assert not any("without" in argv for argv in checked.commands)


def test_gems_without_a_lock_file_are_refused_with_what_to_do(plan):
    with pytest.raises(Refused, match=r"Gemfile has no Gemfile\.lock: run `bundle lock`"):
        plan({"Gemfile": 'gem "sinatra"', "app.rb": 'require "sinatra"'})


def test_an_install_is_complete_though_its_tool_wrote_a_lock_file(plan, tmp_path):
    files = {"composer.json": "{}", "index.php": ""}
    [_, before] = plan(files)[1].installs
    [_, after] = plan({"composer.lock": "{}", "vendor/autoload.php": ""})[1].installs
    assert before.key == after.key


def test_rails_has_its_assets_its_migrations_and_herokus_variables(plan):
    found, _ = plan(RAILS)
    assert found.release == ("bundle", "exec", "rails", "db:migrate")
    assert [argv[-1] for argv in found.backend_build] == ["tmp:create", "assets:precompile"]
    assert found.env_detected["RAILS_ENV"] == "production"
    assert found.env_generated == ("SECRET_KEY_BASE",)


def test_laravel_builds_its_own_assets_and_is_no_frontend_of_files(plan):
    found, planned = plan(LARAVEL)
    assert found.framework == "Laravel"
    assert found.frontend_output is None
    assert found.backend_build == (("npm", "run", "build"),)
    assert found.release == ("php", "artisan", "migrate", "--force")
    assert {one.kind for one in planned.installs} == {"python", "node", "php"}
    composer = next(one for one in planned.installs if one.kind == "php")
    assert "--no-dev" in composer.commands[0]


def test_go_modules_are_put_beside_the_code_unless_they_are_there(plan):
    _, found = plan(GO)
    assert [one.kind for one in found.installs] == ["python"]
    assert found.builds[0].argv == ("go", "build", "-o", "bin/", "./...")
    _, found = plan({"go.mod": "module m\nrequire example.org/x v1.0.0\n"})
    assert found.installs[-1].commands == (("go", "mod", "vendor"),)
    _, found = plan({"vendor/modules.txt": ""})
    assert [one.kind for one in found.installs] == ["python"]


def test_the_packages_of_a_language_that_no_command_uses_are_a_note(plan):
    _, found = plan({"Procfile": "web: python a.py\n", "Gemfile": "", "composer.json": "{}"})
    assert [one.kind for one in found.installs] == ["python"]
    assert [note.split(" ")[0] for note in found.notes] == ["Gemfile", "composer.json"]


def test_a_procfile_of_ones_own_keeps_the_languages_variables_and_builds(plan):
    found, _ = plan(GO | {"Procfile": "web: bin/shop --fast\n"})
    assert found.backend_build and found.web == ("bin/shop", "--fast")
    assert found.sources["backend_build"].startswith("Go")


def test_a_missing_toolchain_is_refused_before_the_install_with_its_packages(plan):
    _, found = plan(SINATRA)
    with pytest.raises(Refused, match=r"bundle, for the install in \.: apt-get install ruby-"):
        require_toolchains(found, lambda name: None)
    require_toolchains(found, lambda name: f"/usr/bin/{name}")


@pytest.mark.parametrize("argv", [("bundle", "exec", "ruby", "-e", "1"), ("php", "-r", "1"),
                                  ("ruby", "-rjson", "-e", "1"), ("ruby", "-")])  # fmt: skip
def test_code_on_the_command_line_is_refused_in_every_language(argv):
    with pytest.raises(Refused) as refusal:
        check_command(argv)
    assert refusal.value.code == "command_refused"


def test_options_of_a_ruby_script_are_its_own():
    check_command(("bundle", "exec", "ruby", "app.rb", "-e", "production"))
