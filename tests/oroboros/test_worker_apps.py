"""The worker loads no pages: what only they need would be in each of its processes' memory."""

import json
import subprocess
import sys

import pytest
from django.apps import apps
from django.conf import settings

from tests.test_imports import ROOT, reachable

ENTRY = "runs.management.commands.run_worker"
# Packages that are loaded with the pages: the largest of them, and what they take with them.
PAGES = (
    "allauth.mfa",
    "allauth.socialaccount",
    "cryptography",
    "django.contrib.admin",
    "drf_spectacular",
    "fido2",
    "oroboros.urls",
    "requests",
    "rest_framework.serializers",
    "rest_framework.views",
    "unfold",
)
PROGRAM = """
import json, sys
from importlib import import_module
import django, manage
manage.leave_pages_out()
django.setup()
from django.apps import apps
for name in json.loads(sys.argv[1]):
    import_module(name)
print(json.dumps([sorted(sys.modules), sorted(model._meta.label for model in apps.get_models())]))
"""


@pytest.fixture(scope="module")
def loaded():
    """Return the modules and the models of a process that imports what the worker ever does."""
    functions = [function.rpartition(".")[0] for _, _, function in settings.WORKER_TASKS]
    names = {ENTRY, settings.PULL_REQUEST_MERGER, *functions}
    modules = sorted(set().union(*map(reachable, names)))
    argv = [sys.executable, "-c", PROGRAM, json.dumps(modules)]
    answer = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_the_worker_loads_no_module_of_the_pages_whatever_it_does(loaded):
    modules, _ = loaded
    assert "runs.lifecycle.supervisor" in modules
    assert [name for name in modules if f"{name}.".startswith(tuple(f"{p}." for p in PAGES))] == []


def test_the_worker_knows_every_model_that_its_code_and_a_deletion_can_reach(loaded):
    _, models = loaded
    missing = {model for model in apps.get_models() if model._meta.label not in models}
    assert {model._meta.app_label for model in missing} == {"admin", "mfa", "socialaccount"}
    # What they refer to is deleted in the admin and by commands only, which know them.
    targets = {
        field.related_model._meta.label
        for model in missing
        for field in model._meta.get_fields()
        if field.is_relation and field.many_to_one and field.related_model not in missing
    }
    assert targets == {"auth.User", "contenttypes.ContentType"}
