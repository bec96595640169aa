"""Cursor pages: constant cost at any depth."""

from rest_framework.pagination import CursorPagination


class Pages(CursorPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
    ordering = "-pk"

    def get_ordering(self, request, queryset, view):  # type: ignore[no-untyped-def]
        """The view's own ordering, made total by the key."""
        ordering = (
            tuple(getattr(view, "cursor_ordering", ()))
            or tuple(queryset.model._meta.ordering)
            or ("-pk",)
        )
        return ordering if ordering[-1].lstrip("-") in {"pk", "id"} else (*ordering, "pk")
