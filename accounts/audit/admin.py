"""The admin's page of the audit trail, for operators."""

from typing import cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from accounts.models import AuditEntry
from web.admin_actions import ReadOnlyAdmin
from web.permissions import OPERATE, has_ability

LISTED_ROWS = 10_000  # older entries: by a filter, or in the export


class BoundedPaginator(Paginator):
    """Counts no further than LISTED_ROWS: counting a whole table takes longer the more it has."""

    @cached_property
    def count(self) -> int:
        entries = cast("QuerySet[AuditEntry]", self.object_list)
        return entries.order_by()[:LISTED_ROWS].count()


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ["at", "kind", "actor", "address", "target", "reason", "detail"]
    list_filter = ["kind", "at"]
    search_fields = ["actor", "target", "address", "reason"]
    fields = ["at", "kind", "actor", "address", "agent", "target", "reason", "detail"]
    paginator = BoundedPaginator
    change_list_template = "oroboros/audit_list.html"

    def has_module_permission(self, request: HttpRequest) -> bool:
        return has_ability(request, OPERATE)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return has_ability(request, OPERATE)
