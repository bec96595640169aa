"""What the endpoints share: rows of the user's projects only, replays, ordering."""

from __future__ import annotations

from typing import Any

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import mixins, viewsets

from .etags import ETagMixin
from .idempotency import IdempotentMixin
from .ordering import OrderingParameter
from .throttles import Changes, Reads


class _Endpoint(IdempotentMixin, ETagMixin):
    """Replays, entity tags, filters and orderings, rate limits."""

    filter_backends = (DjangoFilterBackend, OrderingParameter)
    throttle_classes = (Reads, Changes)
    cursor_ordering: tuple[str, ...] = ()
    #: Columns that `?ordering=` offers; never one that may be null, which a cursor cannot pass.
    ordering_fields: tuple[str, ...] = ()

    def filter_queryset(self, queryset: Any) -> Any:
        """Lists are filtered; one thing is named by its key, and building filters for it costs a tenth of its answer."""
        if getattr(self, "detail", False):
            return queryset
        return super().filter_queryset(queryset)  # type: ignore[misc]


class ProjectRows(
    _Endpoint, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """A list and its entries, as far as the user may see them. Changes go through actions."""

    rows: Any = None

    def get_queryset(self) -> Any:
        queryset = self.rows.all()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        return queryset.for_user(self.request.user)


class Readable(
    _Endpoint, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """What everyone who signed in may read: catalogue, cells, hosts' names."""
