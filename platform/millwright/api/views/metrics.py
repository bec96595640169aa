"""The portal's own metrics, for Prometheus with its discovery token."""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client import REGISTRY, generate_latest
from rest_framework import permissions
from rest_framework.request import Request as HttpRequest
from rest_framework.views import APIView

from .plant import DiscoveryPermission


class MetricsView(APIView):
    """This worker process: memory, CPU time, open files, start time."""

    permission_classes = (permissions.IsAuthenticated, DiscoveryPermission)

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: HttpRequest) -> HttpResponse:
        text = generate_latest(REGISTRY)
        return HttpResponse(text, content_type="text/plain; version=0.0.4; charset=utf-8")
