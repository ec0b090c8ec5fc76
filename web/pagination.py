"""The pagination of lists: of the API's, and of those in the admin."""

from typing import Any, cast

from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from unfold.views import ChangeList

from host.errors import Refused

LISTED_ROWS = 10_000


class BoundedPaginator(Paginator):
    """Pages of the first LISTED_ROWS rows: counting a whole table takes longer the more it has."""

    @cached_property
    def _counted(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by()[: LISTED_ROWS + 1].count()

    @property
    def count(self) -> int:
        return min(self._counted, LISTED_ROWS)

    @property
    def is_cut(self) -> bool:
        """Whether there are rows that no page has."""
        return self._counted > LISTED_ROWS


class RowList(ChangeList):
    """A list that offers to show all rows only where it does not show all of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not (self.query or self.has_active_filters):
            self.full_result_count = self.result_count


class ResultsPagination(CursorPagination):
    """Pages `{results, next, previous}` by cursor: a page costs the same at any depth of the list.

    The order is the queryset's own or the model's; `?limit=` sets the page size, at most 200.
    """

    page_size_query_param = "limit"
    max_page_size = 200

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        """Return the page. Raises Refused `limit_invalid`, `cursor_invalid` (400)."""
        self.model = queryset.model
        return super().paginate_queryset(queryset, request, view)

    def get_page_size(self, request: Request) -> int:
        raw = request.query_params.get(self.page_size_query_param)
        if raw is not None and not (raw.isascii() and raw.isdigit() and raw.strip("0")):
            raise Refused("limit_invalid", "limit must be a positive integer.", status=400)
        # DRF caps it at max_page_size.
        return super().get_page_size(request) or self.max_page_size

    def decode_cursor(self, request: Request) -> Cursor | None:
        try:
            cursor = super().decode_cursor(request)
            if cursor is not None and cursor.position is not None:
                self._validate_position(str(cursor.position))
        except (NotFound, ValidationError, ValueError, OverflowError):
            detail = "The cursor is invalid; use the link `next` or `previous` of a page."
            raise Refused("cursor_invalid", detail, status=400) from None
        return cursor

    def _validate_position(self, position: str) -> None:
        """Raise ValidationError or ValueError unless the database can compare the position."""
        if "\0" in position:
            raise ValueError(position)
        field = self.model._meta.get_field(self.ordering[0].lstrip("-"))
        field.get_prep_value(field.to_python(position))

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:
        # DRF's default is `-created`, a field that these models do not have.
        return tuple(queryset.query.order_by or queryset.model._meta.ordering)

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {"results": data, "next": self.get_next_link(), "previous": self.get_previous_link()}
        )
