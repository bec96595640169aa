"""What the endpoints share: rows of the user's projects only, replays, ordering."""

from __future__ import annotations

from typing import Any

from rest_framework import mixins, viewsets

from .idempotency import IdempotentMixin


class ProjectRows(
    IdempotentMixin, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """A list and its entries, as far as the user may see them. Changes go through actions."""

    rows: Any = None
    cursor_ordering: tuple[str, ...] = ()

    def get_queryset(self) -> Any:
        queryset = self.rows.all()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        return queryset.for_user(self.request.user)


class Readable(
    IdempotentMixin, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """What everyone who signed in may read: catalogue, cells, hosts' names."""

    cursor_ordering: tuple[str, ...] = ()
