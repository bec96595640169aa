"""`?ordering=`: one of the columns that a list offers, `-` before it for the other direction."""

from __future__ import annotations

from typing import Any

from rest_framework import exceptions, filters
from rest_framework.request import Request


def ordering_of(request: Request, view: Any) -> tuple[str, ...] | None:
    """The asked-for ordering; None: the list's own.

    Raises:
        ValidationError: the list does not offer that column.
    """
    wanted = request.query_params.get("ordering", "").strip()
    if not wanted:
        return None
    offered = tuple(getattr(view, "ordering_fields", ()))
    if wanted.removeprefix("-") not in offered:
        names = ", ".join(offered) or "none"
        raise exceptions.ValidationError(
            {"ordering": f"{wanted!r}: this list can be ordered by: {names}"}
        )
    return (wanted,)


class OrderingParameter(filters.BaseFilterBackend):
    """Names the parameter in the schema and refuses unknown columns; the cursor pages do the sorting."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        ordering_of(request, view)
        return queryset

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        offered = tuple(getattr(view, "ordering_fields", ()))
        if not offered:
            return []
        return [
            {
                "name": "ordering",
                "required": False,
                "in": "query",
                "description": "Column to order by; `-` before it turns the order round.",
                "schema": {
                    "type": "string",
                    "enum": [f"{sign}{name}" for name in offered for sign in ("", "-")],
                },
            }
        ]
