"""The admin's page of the audit trail, for operators."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from accounts.models import AuditEntry
from web.admin_actions import ReadOnlyAdmin
from web.permissions import OPERATE, has_ability


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ["at", "kind", "actor", "address", "target", "reason", "detail"]
    list_filter = ["kind", "at"]
    search_fields = ["actor", "target", "address", "reason"]
    fields = ["at", "kind", "actor", "address", "agent", "target", "reason", "detail"]
    change_list_template = "oroboros/audit_list.html"

    def has_module_permission(self, request: HttpRequest) -> bool:
        return has_ability(request, OPERATE)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return has_ability(request, OPERATE)
