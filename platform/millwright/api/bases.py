"""What the endpoints share: rows of the user's projects only, replays, ordering."""

from __future__ import annotations

from typing import Any

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import mixins, permissions, viewsets
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from millwright.accounts.permissions import may, sees_everything

from .etags import ETagMixin
from .idempotency import IdempotentMixin
from .ordering import OrderingParameter
from .plain import Shape, shape
from .throttles import Changes, Reads

#: What names a page and filters nothing.
_OF_PAGES = frozenset({"page_size", "cursor"})


class PoolPermission(permissions.BasePermission):
    """Hosts are for operators and administrators of the plant; others see names and states on pages."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return may(request.user, "pool")


class ReaderPermission(permissions.BasePermission):
    """Read by those who read the whole plant: those who keep the pool, auditors, approvers of the plant."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return sees_everything(request.user)


class _Read(
    IdempotentMixin,
    ETagMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    viewsets.GenericViewSet,
):
    """Lists and single things, made of columns where the serializer can.

    Replays, entity tags, filters, orderings and rate limits come with it. What a person may see is decided by the
    queryset: there are no permissions of single objects beside it.
    """

    filter_backends = (DjangoFilterBackend, OrderingParameter)
    throttle_classes = (Reads, Changes)
    cursor_ordering: tuple[str, ...] = ()
    #: Columns that `?ordering=` offers; never one that may be null, which a cursor cannot pass.
    ordering_fields: tuple[str, ...] = ()

    def filter_queryset(self, queryset: Any) -> Any:
        """Filtered where something is asked for: building filters for one thing, or for none, costs a tenth of an answer."""
        if self.detail or self.request.query_params.keys() <= _OF_PAGES:
            return queryset
        return super().filter_queryset(queryset)

    def _shape(self) -> Shape | None:
        return shape(self.get_serializer_class())

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One page of what the person may see."""
        made = self._shape()
        if made is None or self.paginator is None:
            return super().list(request, *args, **kwargs)
        page = self.paginate_queryset(made.of(self.filter_queryset(self.get_queryset())))
        return self.get_paginated_response(made.write(page))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One thing by its key."""
        made = self._shape()
        if made is None:
            return super().retrieve(request, *args, **kwargs)
        key = {self.lookup_field: self.kwargs[self.lookup_url_kwarg or self.lookup_field]}
        row = get_object_or_404(made.of(self.filter_queryset(self.get_queryset())), **key)
        return Response(made.write([row])[0])


class ProjectRows(_Read):
    """A list and its entries, as far as the user may see them. Changes go through actions."""

    rows: Any = None

    def get_queryset(self) -> Any:
        queryset = self.rows.all()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        return queryset.for_user(self.request.user)


class Readable(_Read):
    """What everyone who signed in may read: catalogue, cells, hosts' names."""
