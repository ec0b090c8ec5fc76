"""What a Django project's settings need, read from its files."""

import pytest

from host.app.frameworks.django_project import check_settings, list_required_variables
from host.errors import Refused
from host.files.source_tree import SourceTree
from tests.host.app.trees import write_tree

MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n'
MIGRATE = ("python", "manage.py", "migrate")
SERVE = ("gunicorn", "config.wsgi:application")
# As cookiecutter-django makes them.
SPLIT = {
    "manage.py": MANAGE.format("config.settings.local"),
    "config/wsgi.py": MANAGE.format("config.settings.production"),
    "config/settings/base.py": 'env = environ.Env()\nNAME = env("BASE_NAME")\n',
    "config/settings/local.py": "from .base import *\n",
    "config/settings/production.py": "from .base import *\n"
    'SECRET_KEY = env("DJANGO_SECRET_KEY")\nHOSTS = env.list("HOSTS", default=[])\n',
}


@pytest.fixture
def check(tmp_path):
    """Check the settings of a tree of these files, whose commands are `release` and `web`."""

    def make(files, known=(), commands=(MIGRATE, SERVE)):
        write_tree(tmp_path, files)
        check_settings(SourceTree(tmp_path), ".", commands, dict(known))

    return make


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('A = env("A")\nB = env.list("B")', ["A", "B"]),
        ('A = env("A", default="")\nB = env("B", "x")\nC = env.bool("C", False)', []),
        ('X = {"A": os.environ["A"]}\nos.environ["B"] = "1"', ["A"]),
        ('if DEBUG:\n    A = env("A")\nB = env("B") if DEBUG else ""\ndef f():\n    env("C")', []),
        ('env = environ.Env(A=(str, "x"))\nA = env("A")', []),
        ("not python (", []),
        ('A = env("A")\nB = env("A")', ["A"]),
    ],
)
def test_only_variables_that_are_read_always_and_without_default_are_required(text, names):
    assert list_required_variables(text) == names


def test_migrations_with_other_settings_than_the_servers_are_refused_with_the_line(check):
    with pytest.raises(Refused) as refusal:
        check(SPLIT)
    assert 'DJANGO_SETTINGS_MODULE = "config.settings.production"' in refusal.value.detail
    assert "manage.py uses config.settings.local" in refusal.value.detail
    assert refusal.value.code == "manifest_invalid"


def test_a_release_command_that_is_not_manage_py_is_not_judged(check):
    set_ = {"DJANGO_SECRET_KEY": "", "BASE_NAME": ""}
    check(SPLIT, set_, commands=(("alembic", "upgrade", "head"), SERVE))


def test_all_variables_that_the_settings_lack_are_named_at_once(check):
    known = {"DJANGO_SETTINGS_MODULE": "config.settings.production"}
    with pytest.raises(Refused) as refusal:
        check(SPLIT, known)
    names = "config/settings/production.py requires DJANGO_SECRET_KEY; config/settings/base.py"
    assert refusal.value.detail.startswith(f"{names} requires BASE_NAME. Set each")
    check(SPLIT, {**known, "DJANGO_SECRET_KEY": "x", "BASE_NAME": "y"})


def test_a_project_with_a_file_of_variables_is_not_judged(check):
    known = {"DJANGO_SETTINGS_MODULE": "config.settings.production"}
    check({**SPLIT, ".env": "DJANGO_SECRET_KEY=x\n"}, known)
