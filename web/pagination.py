"""The pagination of the API's lists."""

from typing import Any

from rest_framework.pagination import CursorPagination
from rest_framework.response import Response


class ResultsPagination(CursorPagination):
    """Pages `{results, next, previous}` by cursor: a page costs the same at any depth of the list.

    The order is the queryset's own or the model's; `?limit=` sets the page size, at most 200.
    """

    page_size_query_param = "limit"
    max_page_size = 200

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:
        # DRF's default is `-created`, a field that these models do not have.
        return tuple(queryset.query.order_by or queryset.model._meta.ordering)

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {"results": data, "next": self.get_next_link(), "previous": self.get_previous_link()}
        )
