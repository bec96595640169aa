"""Environments, machines, operations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.accounts.models import ApiToken
from millwright.accounts.permissions import require
from millwright.api.bases import ProjectRows
from millwright.api.saying import SaidField, SaidParts
from millwright.api.views.forces import ForceVerbs
from millwright.api.views.trends import TrendVerbs
from millwright.balancing import asking, entitling
from millwright.balancing.models import Balancer, MachineShare
from millwright.core.lifecycle import Movability, OperationKind
from millwright.environments import actions, consoles, labels, moving
from millwright.environments.access import show_access
from millwright.environments.consoles import PATH
from millwright.environments.models import Environment, Machine, Operation, SavedView
from millwright.environments.serializers import (
    EnvironmentSerializer,
    MachineSerializer,
    OperationSerializer,
)
from millwright.inventory.models import Host
from millwright.shopfloor.live import read_tags, trend


class ReasonInput(serializers.Serializer):
    reason = serializers.CharField(required=False, allow_blank=True, max_length=2000, default="")


class MoveInput(ReasonInput):
    """Where to; left out: the best host."""

    host = serializers.CharField(required=False, allow_null=True, default=None, max_length=63)


class DisruptionInput(ReasonInput):
    """What users of the environment's machines suffer from a move, in core-seconds; null: as their templates say."""

    disruption = serializers.FloatField(
        allow_null=True, min_value=0, max_value=moving.MOST_DISRUPTION
    )


class MovabilityInput(ReasonInput):
    movability = serializers.ChoiceField([(str(word), str(word)) for word in Movability])


class AnswerInput(serializers.Serializer):
    answer = serializers.CharField(max_length=40)


class ExtendInput(serializers.Serializer):
    days = serializers.IntegerField(min_value=1, max_value=3660)


class TagsInput(serializers.Serializer):
    tags = serializers.ListField(child=serializers.CharField(max_length=32), max_length=20)


def _known(queryset: Any, field: str, **lookup: Any) -> Any:
    found = queryset.filter(**lookup).first()
    if found is None:
        raise serializers.ValidationError(
            {field: f"{next(iter(lookup.values()))!r} does not exist or is not yours to use"}
        )
    return found


def _reason(request: HttpRequest) -> str:
    data = ReasonInput(data=request.data)
    data.is_valid(raise_exception=True)
    return str(data.validated_data["reason"])


class AccessOutput(serializers.Serializer):
    """How to sign in to a machine's services. `web`, `mqtt`: where they are, null where there is none."""

    machine = serializers.CharField()
    account = serializers.CharField()
    word = serializers.CharField()
    web = serializers.CharField(allow_null=True)
    mqtt = serializers.CharField(allow_null=True)


class EnvironmentViewSet(ProjectRows):
    """What runs. The lookup is the environment's name."""

    rows = Environment.objects.with_machines()
    serializer_class = EnvironmentSerializer
    filterset_fields = ("state", "name", "project__slug", "tags__name")
    lookup_field = "name"
    cursor_ordering = ("name", "pk")
    ordering_fields = ("name", "created_at", "state_since")

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        return (
            queryset if self.request.query_params.get("removed") == "true" else queryset.present()
        )

    def _power(self, request: HttpRequest, kind: OperationKind) -> Response:
        made = actions.power(request.user, self.get_object(), kind, _reason(request))
        return Response(OperationSerializer(made, many=True).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=ReasonInput, responses={202: OperationSerializer(many=True)})
    @action(detail=True, methods=["post"])
    def start(self, request: HttpRequest, name: str) -> Response:
        """Start its machines."""
        return self._power(request, OperationKind.START)

    @extend_schema(request=ReasonInput, responses={202: OperationSerializer(many=True)})
    @action(detail=True, methods=["post"])
    def stop(self, request: HttpRequest, name: str) -> Response:
        """Shut its machines down."""
        return self._power(request, OperationKind.STOP)

    @extend_schema(request=ReasonInput, responses={202: OperationSerializer(many=True)})
    @action(detail=True, methods=["post"])
    def restart(self, request: HttpRequest, name: str) -> Response:
        """Restart its machines."""
        return self._power(request, OperationKind.RESTART)

    @extend_schema(request=ReasonInput, responses={202: OperationSerializer(many=True)})
    @action(detail=True, methods=["post"])
    def remove(self, request: HttpRequest, name: str) -> Response:
        """Remove it with its disks."""
        made = actions.remove_environment(request.user, self.get_object(), _reason(request))
        return Response(OperationSerializer(made, many=True).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=TagsInput, responses={200: EnvironmentSerializer})
    @action(detail=True, methods=["post"], url_path="set-tags")
    def set_tags(self, request: HttpRequest, name: str) -> Response:
        """Have exactly these tags."""
        data = TagsInput(data=request.data)
        data.is_valid(raise_exception=True)
        row = self.get_object()
        labels.set_tags(request.user, row, data.validated_data["tags"])
        return Response(
            EnvironmentSerializer(Environment.objects.with_machines().get(pk=row.pk)).data
        )

    @extend_schema(request=ExtendInput, responses={200: EnvironmentSerializer})
    @action(detail=True, methods=["post"])
    def extend(self, request: HttpRequest, name: str) -> Response:
        """Lengthen the lease."""
        data = ExtendInput(data=request.data)
        data.is_valid(raise_exception=True)
        row = actions.extend_lease(request.user, self.get_object(), data.validated_data["days"])
        return Response(
            EnvironmentSerializer(Environment.objects.with_machines().get(pk=row.pk)).data
        )

    @extend_schema(request=DisruptionInput, responses={200: EnvironmentSerializer})
    @action(detail=True, methods=["post"])
    def disruption(self, request: HttpRequest, name: str) -> Response:
        """Say what users of its machines suffer from a move, in core-seconds: balancing counts it as the move's cost."""
        data = DisruptionInput(data=request.data)
        data.is_valid(raise_exception=True)
        row = moving.set_disruption(request.user, self.get_object(), **data.validated_data)
        return Response(
            EnvironmentSerializer(Environment.objects.with_machines().get(pk=row.pk)).data
        )

    @extend_schema(request=None, responses={200: AccessOutput(many=True)})
    @action(detail=True, methods=["post"])
    def access(self, request: HttpRequest, name: str) -> Response:
        """Tell the access words of its machines. A change by itself: it stands in the audit trail."""
        rows = show_access(request.user, self.get_object())
        return Response(
            AccessOutput(rows, many=True).data, headers={"Cache-Control": "no-store, private"}
        )


class TagOutput(serializers.Serializer):
    path = serializers.CharField()
    type = serializers.CharField()
    located = serializers.CharField(allow_null=True, default=None)
    modbus_area = serializers.CharField()
    modbus_address = serializers.IntegerField()
    value = serializers.JSONField(allow_null=True)


class TrendOutput(serializers.Serializer):
    """Times in seconds since 1970, and a column of values for each tag."""

    time = serializers.ListField(child=serializers.FloatField())
    values = serializers.DictField(child=serializers.ListField(child=serializers.JSONField()))


class TagsOutput(serializers.Serializer):
    """`error` says why values are missing or old; `age_s` is their age in seconds."""

    tags = TagOutput(many=True)
    age_s = serializers.FloatField(allow_null=True)
    error = serializers.CharField(allow_blank=True)
    trend = TrendOutput()


class SavedViewSerializer(serializers.ModelSerializer):
    """`query`: filters of the list, as they stand in its address."""

    class Meta:
        model = SavedView
        fields = ("id", "name", "query")
        read_only_fields = ("id",)


class SavedViewViewSet(ProjectRows):
    """One's own views of the list of environments."""

    rows = SavedView.objects
    serializer_class = SavedViewSerializer
    filterset_fields = ("name",)
    cursor_ordering = ("name", "pk")

    @extend_schema(request=SavedViewSerializer, responses={200: SavedViewSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Keep a view; the same name again replaces it."""
        data = SavedViewSerializer(data=request.data)
        data.is_valid(raise_exception=True)
        view = labels.save_view(
            request.user, data.validated_data["name"], data.validated_data.get("query", "")
        )
        return Response(SavedViewSerializer(view).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: HttpRequest, pk: str) -> Response:
        """Forget a view."""
        labels.forget_view(request.user, self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConsoleOutput(serializers.Serializer):
    """A ticket for one console."""

    id = serializers.UUIDField()
    ticket = serializers.CharField()
    expires_at = serializers.DateTimeField()
    path = serializers.CharField()


class HostSaysOutput(serializers.Serializer):
    """A host's price for the machine in core-seconds, or the codes that forbid it: in words, and with their facts.

    `wake_s`: it sleeps and could be woken in so many seconds.
    """

    host = serializers.CharField()
    here = serializers.BooleanField()
    accepted = serializers.BooleanField()
    score = serializers.FloatField(allow_null=True)
    parts = serializers.DictField(child=serializers.FloatField())
    codes = serializers.ListField(child=serializers.CharField())
    texts = serializers.ListField(child=SaidField())
    facts = SaidParts(source="texts")
    wake_s = serializers.FloatField(allow_null=True)


class WhyHereOutput(serializers.Serializer):
    """`disruption`: what its users suffer from a move, in core-seconds; `disruption_own`: said for its environment, else
    by its template."""

    machine = serializers.CharField()
    host = serializers.CharField(allow_null=True)
    text = SaidField()
    text_parts = SaidParts(source="text")
    holds = serializers.ListField(child=SaidField())
    holds_parts = SaidParts(source="holds")
    hosts = HostSaysOutput(many=True)
    disruption = serializers.FloatField()
    disruption_own = serializers.BooleanField()


class EntitlementInput(ReasonInput):
    """Limits of null mean none. Bounds are the action's own."""

    shares = serializers.IntegerField(required=False)
    cpu_reservation = serializers.FloatField(required=False)
    cpu_limit = serializers.FloatField(required=False, allow_null=True)
    memory_minimum_bytes = serializers.IntegerField(required=False, allow_null=True)
    priority = serializers.IntegerField(required=False)
    #: name of a resource pool, "" for none
    pool = serializers.CharField(required=False, allow_blank=True, max_length=48)
    #: machines that must run before it starts again after a host's loss
    after = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50
    )
    #: what rounds do with it, "" as with its pool
    balance_mode = serializers.ChoiceField(Balancer.MODES, required=False, allow_blank=True)


class ShareOutput(serializers.ModelSerializer):
    class Meta:
        model = MachineShare
        fields = ("cpu_weight", "cpu_quota", "memory_bytes", "applied", "error", "at")
        read_only_fields = fields


class EntitlementOutput(serializers.ModelSerializer):
    """`given`: what its host gives it now; null when no round has said anything."""

    given = serializers.SerializerMethodField()
    after = serializers.SerializerMethodField()
    pool = serializers.CharField(source="pool.name", default=None, allow_null=True, read_only=True)

    class Meta:
        model = Machine
        fields = (
            "pool",
            "shares",
            "cpu_reservation",
            "cpu_limit",
            "memory_minimum_bytes",
            "priority",
            "balance_mode",
            "after",
            "given",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_after(self, machine: Machine) -> list[str]:
        return entitling.after_names(machine)

    @extend_schema_field(ShareOutput(allow_null=True))
    def get_given(self, machine: Machine) -> Any:
        row = MachineShare.objects.filter(machine=machine).first()
        return None if row is None else ShareOutput(row).data


class MachineViewSet(ForceVerbs, TrendVerbs, ProjectRows):
    """Virtual machines."""

    rows = Machine.objects.with_names()
    serializer_class = MachineSerializer
    filterset_fields = ("observed", "desired", "host__name", "environment__name")
    cursor_ordering = ("environment__name", "name", "pk")

    @extend_schema(responses={200: TagsOutput})
    @action(detail=True, methods=["get"])
    def tags(self, request: HttpRequest, pk: str) -> Response:
        """Its located variables as they are now, and what the gateway read of them lately."""
        machine = self.get_object()
        reading = read_tags(machine)
        body = {
            "tags": reading.rows,
            "age_s": reading.age_s,
            "error": reading.error,
            "trend": trend(machine),
        }
        return Response(TagsOutput(body).data)

    @extend_schema(request=MoveInput, responses={202: OperationSerializer})
    @action(detail=True, methods=["post"])
    def move(self, request: HttpRequest, pk: str) -> Response:
        """Move it to another host: with its guest while it runs, without one while it is off."""
        data = MoveInput(data=request.data)
        data.is_valid(raise_exception=True)
        machine, name = self.get_object(), data.validated_data["host"]
        # Who may not move machines is told so before he is told which hosts there are.
        require(request.user, "pool")
        host = Host.objects.filter(name=name).first() if name else None
        if name and host is None:
            raise ValidationError({"host": _("no host is named %(name)r") % {"name": name}})
        made = moving.move_machine(request.user, machine, host, data.validated_data["reason"])
        return Response(OperationSerializer(made).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=MovabilityInput, responses={200: MachineSerializer})
    @action(detail=True, methods=["post"])
    def movability(self, request: HttpRequest, pk: str) -> Response:
        """Say what may move it: nothing, a planned window, a person each time, the balancer."""
        data = MovabilityInput(data=request.data)
        data.is_valid(raise_exception=True)
        moving.set_movability(request.user, self.get_object(), **data.validated_data)
        return Response(MachineSerializer(self.get_object()).data)

    @extend_schema(responses={200: WhyHereOutput})
    @action(detail=True, methods=["get"])
    def explain(self, request: HttpRequest, pk: str) -> Response:
        """Why it is here and not there: what holds it, and every host's answer."""
        return Response(WhyHereOutput(asdict(asking.why_here(self.get_object()))).data)

    @extend_schema(request=EntitlementInput, responses={200: EntitlementOutput})
    @action(detail=True, methods=["get", "post"])
    def entitlement(self, request: HttpRequest, pk: str) -> Response:
        """GET: what it is promised and given. POST: say what it is promised; what is left out stays."""
        machine = self.get_object()
        if request.method == "POST":
            data = EntitlementInput(data=request.data)
            data.is_valid(raise_exception=True)
            wanted = dict(data.validated_data)
            reason = wanted.pop("reason", "")
            machine = entitling.set_entitlement(request.user, machine, reason, **wanted)
        return Response(EntitlementOutput(machine).data)

    @extend_schema(request=None, responses={201: ConsoleOutput})
    @action(detail=True, methods=["post"])
    def console(self, request: HttpRequest, pk: str) -> Response:
        """A ticket for its serial console: good once, for half a minute.

        Open a WebSocket at `path` and send `{"ticket": …}` as its first message. Text frames are JSON of the
        portal (`opened` or `error`), binary frames the console's bytes in both directions.
        """
        return self._ticket(request, "serial")

    @extend_schema(request=None, responses={201: ConsoleOutput})
    @action(detail=True, methods=["post"])
    def screen(self, request: HttpRequest, pk: str) -> Response:
        """A ticket for its screen: good once, for half a minute.

        As for the console; the binary frames speak RFB (VNC) without a sign-in of its own.
        """
        return self._ticket(request, "screen")

    def _ticket(self, request: HttpRequest, kind: str) -> Response:
        token = request.auth if isinstance(request.auth, ApiToken) else None
        session = "" if token else request.session.session_key or ""
        visit, secret = consoles.ask(
            request.user, self.get_object(), kind=kind, session_key=session, token=token
        )
        body = {"id": visit.pk, "ticket": secret, "expires_at": visit.expires_at, "path": PATH}
        return Response(ConsoleOutput(body).data, status=status.HTTP_201_CREATED)


class OperationViewSet(ProjectRows):
    """What was and is being done."""

    rows = Operation.objects.with_names().prefetch_related("steps")
    serializer_class = OperationSerializer
    filterset_fields = ("state", "kind", "environment__name")
    cursor_ordering = ("-created_at", "pk")
    ordering_fields = ("created_at",)

    @extend_schema(request=None, responses={200: OperationSerializer})
    @action(detail=True, methods=["post"])
    def cancel(self, request: HttpRequest, pk: str) -> Response:
        """Ask it to stop at its next step."""
        actions.cancel_operation(request.user, self.get_object())
        return Response(OperationSerializer(get_object_or_404(self.rows.all(), pk=pk)).data)

    @extend_schema(request=AnswerInput, responses={200: OperationSerializer})
    @action(detail=True, methods=["post"])
    def answer(self, request: HttpRequest, pk: str) -> Response:
        """Answer what it asks, with one of the answers that it offers."""
        data = AnswerInput(data=request.data)
        data.is_valid(raise_exception=True)
        moving.answer_operation(request.user, self.get_object(), data.validated_data["answer"])
        return Response(OperationSerializer(get_object_or_404(self.rows.all(), pk=pk)).data)

    @extend_schema(request=None, responses={200: OperationSerializer})
    @action(detail=True, methods=["post"])
    def retry(self, request: HttpRequest, pk: str) -> Response:
        """Try a failed one again."""
        actions.retry_operation(request.user, self.get_object())
        return Response(OperationSerializer(get_object_or_404(self.rows.all(), pk=pk)).data)
