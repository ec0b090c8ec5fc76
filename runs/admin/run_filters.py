"""Filters of the lists of runs and events; what is chosen is in the address, to be kept."""

from typing import Any

from django.contrib.admin import DateFieldListFilter, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import (
    DropdownFilter,
    FieldTextFilter,
    MultipleChoicesDropdownFilter,
)

from runs.engine.events import list_kinds
from runs.models import Event, Run
from runs.rules import FAILURES
from web.permissions import get_actor_name


class MineFilter(DropdownFilter):
    """The runs that the reader created."""

    title = "owner"
    parameter_name = "mine"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "Mine")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        if self.value() != "1":
            return queryset
        return queryset.filter(created_by=get_actor_name(request))


class FailureCodeFilter(DropdownFilter):
    """Failed runs with one code: those that exist, not those that occur, which costs a scan."""

    title = "failure code"
    parameter_name = "failure_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code, code) for code in sorted(FAILURES)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset.filter(failure_code=self.value()) if self.value() else queryset


class EventKindFilter(SimpleListFilter):
    """Events of one kind, of those that occur. Django's own filter reads every event for them."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind) for kind in list_kinds()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


FILTERS = [
    MineFilter,
    ("status", MultipleChoicesDropdownFilter),
    ("branch", FieldTextFilter),
    ("created_by", FieldTextFilter),
    FailureCodeFilter,
    ("created_at", DateFieldListFilter),
]
