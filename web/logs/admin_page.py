"""The logs of processes on the page of what runs them, in the admin."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.contrib.admin.utils import unquote
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from web.admin_actions import ReadOnlyAdmin
from web.logs.listing import describe_logs


def describe_page_logs(
    logs: Mapping[str, Path],
    *,
    source: str,
    make_url: Callable[[str], str],
    is_running: Callable[[str], bool] = lambda name: True,
) -> list[dict[str, Any]]:
    """Return the logs for the page; `make_url` gives the address of a log's text by its name.

    A download is named after `source` and the log. The page follows a log that `is_running`.
    """
    return [
        {
            **log,
            "url": make_url(log["name"]),
            "filename": f"{source}-{log['name']}",
            "is_running": is_running(log["name"]),
        }
        for log in describe_logs(logs)
    ]


class ProcessLogsAdmin(ReadOnlyAdmin):
    """Rows whose page has the logs of their processes below the fields."""

    change_form_outer_after_template = "oroboros/process_logs.html"
    process_logs_note = ""

    def list_process_logs(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the logs that this person may read, as `describe_page_logs` does."""
        return []

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row: Model | None = self.get_object(request, unquote(object_id))
        context = {
            "process_logs": self.list_process_logs(request, row) if row is not None else [],
            "process_logs_note": self.process_logs_note,
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, context)
