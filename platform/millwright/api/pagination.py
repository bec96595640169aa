"""Cursor pages: constant cost at any depth."""

from typing import Any

from rest_framework.pagination import CursorPagination

from .ordering import ordering_of


class Pages(CursorPagination):
    """Of instances, or of dictionaries of columns, to which the ordering's own is added."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
    ordering = "-pk"

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> Any:
        """The page that the cursor names."""
        if chosen := queryset.query.values_select:
            first = self.get_ordering(request, queryset, view)[0].lstrip("-")
            # First of all, so that its table is joined first.
            queryset = queryset.values(*dict.fromkeys((first, *chosen)))
        return super().paginate_queryset(queryset, request, view)

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
        path = ordering[0].lstrip("-")
        if isinstance(instance, dict):
            return None if instance[path] is None else str(instance[path])
        value = instance
        for part in path.split("__"):
            value = getattr(value, part)
        # A relation is ordered and filtered by its key, and named by its words.
        value = getattr(value, "pk", value)
        return None if value is None else str(value)
