"""What the admin's command palette (Ctrl+K) finds: runs, branches, commits, releases and slots."""

from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode
from unfold.dataclasses import SearchResult

from releases.models import Release
from runs.models import Run
from slots.models import Slot
from web.permissions import VIEW, has_ability

LIMIT = 8  # of each kind
SHORTEST_COMMIT = 4


def search(request: HttpRequest, term: str) -> list[SearchResult]:
    """Return what matches, the newest first; nothing for a person who may not view.

    unfold calls it with the term in lower case, and keeps the answer for five minutes.
    """
    if not has_ability(request, VIEW):
        return []
    return [*_find_runs(term), *_find_branches(term), *_find_releases(term), *_find_slots(term)]


def _match_commit(term: str) -> Q:
    return Q(commit_sha__startswith=term) if len(term) >= SHORTEST_COMMIT else Q()


def _find_runs(term: str) -> Iterator[SearchResult]:
    matches = Q(title__icontains=term) | Q(branch__icontains=term) | _match_commit(term)
    if len(term) >= SHORTEST_COMMIT:  # of a merged run also the commit that main has of it
        matches |= Q(candidate_sha__startswith=term)
    with suppress(ValueError):
        matches |= Q(pk=UUID(term))
    for run in Run.objects.filter(matches).order_by("-created_at")[:LIMIT]:
        place = " ".join(filter(None, (run.branch, run.commit_sha[:12])))
        yield SearchResult(
            title=run.title,
            description=f"{run.get_status_display()} run, {place or 'no commit yet'}",
            link=reverse("admin:runs_run_change", args=[run.pk]),
            icon="rocket_launch",
        )


def _find_branches(term: str) -> Iterator[SearchResult]:
    found = Run.objects.filter(branch__icontains=term).order_by("branch")
    for branch in found.values_list("branch", flat=True).distinct()[:LIMIT]:
        query = urlencode({"branch__icontains": branch})
        yield SearchResult(
            title=branch,
            description="branch: its runs",
            link=f"{reverse('admin:runs_run_changelist')}?{query}",
            icon="account_tree",
        )


def _find_releases(term: str) -> Iterator[SearchResult]:
    matches = Q(title__icontains=term) | Q(release_id__icontains=term) | _match_commit(term)
    found = Release.objects.filter(matches, is_temporary=False).order_by("-created_at")
    for release in found[:LIMIT]:
        yield SearchResult(
            title=release.title or release.pk,
            description=f"{release.get_status_display()} release, {release.pk}",
            link=reverse("admin:releases_release_change", args=[release.pk]),
            icon="deployed_code",
        )


def _find_slots(term: str) -> Iterator[SearchResult]:
    ours = Slot.objects.on_host(settings.HOST_NAME)
    for slot in ours.filter(slot_id__icontains=term).order_by("number")[:LIMIT]:
        yield SearchResult(
            title=slot.slot_id,
            description="slot",
            link=reverse("admin:slots_slot_change", args=[slot.pk]),
            icon="grid_view",
        )
