"""Cursor pages: constant cost at any depth."""

from typing import Any

from rest_framework.pagination import CursorPagination

from .ordering import ordering_of


class Pages(CursorPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
    ordering = "-pk"

    def get_ordering(self, request, queryset, view):  # type: ignore[no-untyped-def]
        """The asked-for ordering or the view's own, made total by the key."""
        ordering = (
            ordering_of(request, view)
            or tuple(getattr(view, "cursor_ordering", ()))
            or tuple(queryset.model._meta.ordering)
            or ("-pk",)
        )
        return ordering if ordering[-1].lstrip("-") in {"pk", "id"} else (*ordering, "pk")

    def _get_position_from_instance(self, instance: Any, ordering: Any) -> str | None:
        """The first column's value, across relations too, which the base class does not follow."""
        value = instance
        for part in ordering[0].lstrip("-").split("__"):
            value = getattr(value, part)
        # A relation is ordered and filtered by its key, and named by its words.
        value = getattr(value, "pk", value)
        return None if value is None else str(value)
