"""The page that compares two releases: commits, schema changes, and the difference."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse

from host.errors import Refused
from releases.deployments import rollback_plan
from releases.models import Release
from releases.rules import MigratedRelease
from runs import difference
from runs.admin.comments import build_files_context
from runs.comparison.addresses import build_addresses
from runs.comparison.layout import Layout, read_layout
from runs.repository import open_repository
from web.permissions import VIEW, has_ability

NAME = "admin-release-comparison"
CHOICES = 100  # the newest releases that the page offers


def show_comparison(request: HttpRequest) -> HttpResponse:
    """What changes `from` one release `to` another.

    Without a `to` it is the live release, without a `from` the one that a rollback would go to.
    """
    if not has_ability(request, VIEW):
        raise PermissionDenied
    new = _find(request.GET.get("to", "")) or Release.objects.live()
    old = _find(request.GET.get("from", "")) or rollback_plan.find_rollback_target() or new
    only_path = request.GET.get("path")
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Compare releases",
        "old": old,
        "new": new,
        "choices": list_choices(old, new),
        "only_path": only_path,
    }
    if old is not None and new is not None:
        layout = read_layout(request.GET)
        context |= _compare(old, new, only_path, layout)
        context |= build_addresses(reverse(NAME), {"from": old.pk, "to": new.pk}, layout)
        context["schema_releases"] = list_migrated_between(old, new)
    return TemplateResponse(request, "oroboros/release_comparison.html", context)


def _find(release_id: str) -> Release | None:
    """Return the release with that id, None for "". Raises Http404 if there is no such release."""
    if not release_id:
        return None
    release = Release.objects.listed().filter(pk=release_id).first()
    if release is None:
        raise Http404
    return release


def list_choices(*chosen: Release | None) -> list[Release]:
    """Return the newest releases, and those that are chosen, newest first."""
    found = {one.pk: one for one in Release.objects.listed()[:CHOICES]}
    found |= {one.pk: one for one in chosen if one is not None}
    return [found[key] for key in sorted(found, reverse=True)]


def _compare(old: Release, new: Release, only_path: str | None, layout: Layout) -> dict[str, Any]:
    repo = open_repository(settings.OROBOROS)
    try:
        base, commit = (repo.require_commit(one.commit_sha) for one in (old, new))
        found = difference.compare_commits(repo, base, commit, only_path)
        removed = difference.list_commits(repo, commit, base)
        omitted = repo.count_commits(commit, base) - len(removed)
    except Refused as refused:
        return {"no_difference": refused.detail}
    return {
        "difference": found,
        **build_files_context(found, [], layout),
        "removed_commits": removed,
        "omitted_removed": omitted,
    }


def list_migrated_between(old: Release, new: Release) -> list[MigratedRelease]:
    """Return what migrated production after the older of the two, until the newer one had."""
    first, last = sorted((old, new), key=lambda one: one.pk)
    after = {one.release_id for one in rollback_plan.find_later_migrations(last)}
    later = rollback_plan.find_later_migrations(first)
    return [one for one in later if one.release_id not in after]


urlpatterns = [
    path("admin/releases/release/compare/", admin.site.admin_view(show_comparison), name=NAME)
]
