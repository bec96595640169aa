"""Hosts that sleep: put to sleep and woken by a person's word."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.environments.serializers import OperationSerializer
from millwright.inventory import power

from .environments import ReasonInput


class SleepInput(ReasonInput):
    """Until when; left out: until somebody wakes it."""

    until = serializers.DateTimeField(required=False, allow_null=True, default=None)


class SleepingHosts:
    """Mixed into the hosts' views."""

    get_object: Any

    @extend_schema(request=SleepInput, responses={202: OperationSerializer})
    @action(detail=True, methods=["post"])
    def sleep(self, request: HttpRequest, name: str) -> Response:
        """Put an empty host to sleep, as its policy says; refused with what stands in the way."""
        data = SleepInput(data=request.data)
        data.is_valid(raise_exception=True)
        operation = power.ask_sleep(request.user, self.get_object(), **data.validated_data)
        return Response(OperationSerializer(operation).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=ReasonInput, responses={202: OperationSerializer})
    @action(detail=True, methods=["post"])
    def wake(self, request: HttpRequest, name: str) -> Response:
        """Wake a host; the operation that is at it already, if there is one."""
        data = ReasonInput(data=request.data)
        data.is_valid(raise_exception=True)
        operation = power.ask_wake(request.user, self.get_object(), **data.validated_data)
        return Response(OperationSerializer(operation).data, status=status.HTTP_202_ACCEPTED)
