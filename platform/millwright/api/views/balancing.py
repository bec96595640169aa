"""What the balancer recommends, and what people decide of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import PoolPermission, Readable
from millwright.api.pagination import Pages
from millwright.api.saying import KeptReason, KeptText, PartOutput, SaidField
from millwright.balancing import consolidating, emptying, history, hours, recommending, reporting
from millwright.balancing.models import (
    Balancer,
    BalanceRound,
    Consolidating,
    MovePlan,
    Recommendation,
)

from .emptying import EmptyHostInput, EmptyingOutput, SleepAnswerOutput
from .environments import ReasonInput, _reason
from .plant import HeatOutput
from .slept import SleepSavings


class PlanStepOutput(serializers.Serializer):
    """One step of a plan. `aside`: the machine goes on from there; `operation`: once it has begun."""

    machine = serializers.CharField()
    source = serializers.CharField()
    target = serializers.CharField()
    aside = serializers.BooleanField()
    operation = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(("waiting", "running", "done", "failed"))
    error = serializers.CharField()


class MovePlanSerializer(serializers.ModelSerializer):
    """What is decided and carried out as one. `note`: why it does not go on, or ended before its end. Text and note
    are in the caller's language, `text_parts` and `note_parts` the codes and facts of them."""

    steps = PlanStepOutput(many=True, read_only=True)
    text = SaidField(source="reason")
    text_parts = PartOutput(many=True, read_only=True)
    note = SaidField(source="remark")
    note_parts = PartOutput(many=True, read_only=True)

    class Meta:
        model = MovePlan
        fields = (
            "id",
            "state",
            "text",
            "text_parts",
            "seconds",
            "steps",
            "note",
            "note_parts",
            "ended_at",
        )
        read_only_fields = fields


class RecommendationSerializer(serializers.ModelSerializer):
    """`created_at`: the round that wanted it first, `wanted_at` the last one; `note`: why it is wanted no longer.
    `revision` counts how often its numbers have materially changed meanwhile. Text and note are in the caller's
    language, `text_parts` and `note_parts` the codes and facts of them (empty in rows of before)."""

    machine = serializers.CharField(source="machine.__str__", read_only=True)
    source = serializers.CharField(source="source.name", read_only=True)
    destination = serializers.CharField(source="destination.name", read_only=True)
    plan = MovePlanSerializer(read_only=True, allow_null=True)
    text = SaidField(source="reason")
    text_parts = PartOutput(many=True, read_only=True)
    note = SaidField(source="remark")
    note_parts = PartOutput(many=True, read_only=True)

    class Meta:
        model = Recommendation
        fields = (
            "id",
            "machine",
            "source",
            "destination",
            "why",
            "text",
            "text_parts",
            "seconds",
            "effect",
            "actual",
            "mode",
            "state",
            "operation",
            "plan",
            "created_at",
            "wanted_at",
            "ended_at",
            "note",
            "note_parts",
            "revision",
        )
        read_only_fields = fields


class ApproveMoveInput(ReasonInput):
    """`revision`: of the numbers that were seen; a move that has materially changed since is not begun."""

    revision = serializers.IntegerField(required=False, min_value=1)


def _bounded(name: str) -> serializers.IntegerField:
    low, high = recommending.BOUNDS[name]
    return serializers.IntegerField(required=False, min_value=low, max_value=high)


class ModeInput(ReasonInput):
    """`level`: 1 mends broken rules only, 5 balances the finest. `spare_hosts`: that may die at once. `max_moves`: of
    a round; `sustain_rounds`: that an imbalance lasts before it is acted upon; `cooldown_rounds`: for which a machine
    that moved stays. A round is five minutes. `link_moves`: of rounds and drains at once over the link between any two
    failure domains; 0: any number. What is left out stays."""

    mode = serializers.ChoiceField(Balancer.MODES)
    level = _bounded("level")
    spare_hosts = _bounded("spare_hosts")
    max_moves = _bounded("max_moves")
    sustain_rounds = _bounded("sustain_rounds")
    cooldown_rounds = _bounded("cooldown_rounds")
    link_moves = _bounded("link_moves")


class CalendarInput(ReasonInput):
    """Lines as a snapshot's `calendar` has them: name, for whom (`pools`, `vms`), when (`days`, `start`, `end`,
    `since`, `until`) and what then holds (`shares`, `reservation`, `limit`, `priority`, `movability`, `mode`, `window`)."""

    lines = serializers.ListField(child=serializers.DictField())


class CalendarOutput(serializers.Serializer):
    lines = serializers.ListField(child=serializers.DictField())


class BalancerSerializer(serializers.ModelSerializer):
    """`next_round`: when it is due; null where none is made."""

    next_round = serializers.SerializerMethodField()

    class Meta:
        model = Balancer
        fields = (
            "mode",
            "level",
            "spare_hosts",
            "max_moves",
            "sustain_rounds",
            "cooldown_rounds",
            "link_moves",
            "figures",
            "last_round",
            "next_round",
        )
        read_only_fields = fields

    def get_next_round(self, row: Balancer) -> dt.datetime | None:
        return recommending.next_round()


def _sleeping(name: str) -> serializers.IntegerField:
    low, high = consolidating.BOUNDS[name]
    return serializers.IntegerField(required=False, min_value=low, max_value=high)


class ConsolidationInput(ReasonInput):
    """`headroom_percent`: kept free on top of what is expected; `keep_awake`: hosts that stay awake; `least_hours`: for
    which it is worth to sleep; `begin`, `end`: "06:00" between which hosts may sleep, both empty: always. What is left
    out stays."""

    mode = serializers.ChoiceField(Balancer.MODES, required=False)
    headroom_percent = _sleeping("headroom_percent")
    keep_awake = _sleeping("keep_awake")
    least_hours = _sleeping("least_hours")
    begin = serializers.CharField(required=False, allow_blank=True, max_length=5)
    end = serializers.CharField(required=False, allow_blank=True, max_length=5)


class ConsolidationSerializer(serializers.ModelSerializer):
    """`answer`: what the last round decided, and of a host that was being emptied then what is true now; `emptying`:
    the host that is being emptied for sleep; `emptied`: the last ones that were, or were called off."""

    answer = serializers.SerializerMethodField()
    emptying = serializers.SerializerMethodField()
    emptied = serializers.SerializerMethodField()

    class Meta:
        model = Consolidating
        fields = (
            "mode",
            "headroom_percent",
            "keep_awake",
            "least_hours",
            "begin",
            "end",
            "last_round",
            "answer",
            "emptying",
            "emptied",
        )
        read_only_fields = fields

    @extend_schema_field(SleepAnswerOutput(many=True))
    def get_answer(self, row: Consolidating) -> Any:
        return SleepAnswerOutput(consolidating.answer(row, emptying.current()), many=True).data

    @extend_schema_field(EmptyingOutput(allow_null=True))
    def get_emptying(self, row: Consolidating) -> Any:
        going = emptying.current()
        return EmptyingOutput(going).data if going is not None else None

    @extend_schema_field(EmptyingOutput(many=True))
    def get_emptied(self, row: Consolidating) -> Any:
        return EmptyingOutput(emptying.earlier(), many=True).data


class RefusedOutput(KeptText):
    """`machine`: empty when it is said of the whole round. `text` in the caller's language, `parts` its codes and
    facts (empty in a round of before)."""

    machine = serializers.CharField(allow_blank=True)
    code = serializers.CharField(allow_blank=True)
    parts = PartOutput(many=True, default=list)


class NotHeldOutput(KeptReason):
    """A hard rule or an amount that did not hold. `why`: it is not mended, or `mending` by these moves. Both in the
    caller's language, `parts` and `why_parts` the codes and facts of them (empty in a round of before)."""

    kind = serializers.CharField()
    subject = serializers.CharField()


class RoundSerializer(serializers.ModelSerializer):
    """`counts`: refusals by code, `refused` the first of them; `broken`: how many do not hold, `violations` the first."""

    refused = RefusedOutput(many=True, read_only=True)
    violations = NotHeldOutput(many=True, read_only=True)

    class Meta:
        model = BalanceRound
        fields = (
            "at",
            "mode",
            "level",
            "moves",
            "figures",
            "counts",
            "refused",
            "broken",
            "violations",
        )
        read_only_fields = fields


class RoundOutput(serializers.Serializer):
    """Nothing before the first round."""

    round = RoundSerializer(allow_null=True)
    next_at = serializers.DateTimeField(allow_null=True)


class ShadowSumOutput(serializers.Serializer):
    """`pool`: empty for all. Minutes of hosts above the threshold in the last week: as it was, and as foreseen."""

    pool = serializers.CharField(allow_blank=True)
    moves = serializers.IntegerField()
    above_minutes = serializers.IntegerField()
    foreseen_minutes = serializers.IntegerField()


class HeatChangeOutput(serializers.Serializer):
    """One host's ratios before and after; `touched`: machines leave or come."""

    before = HeatOutput()
    after = HeatOutput()
    touched = serializers.BooleanField()


class RoundReasonOutput(serializers.Serializer):
    """Why no more was done: a `title` in the caller's language, and how often."""

    code = serializers.CharField(allow_blank=True)
    title = serializers.CharField()
    count = serializers.IntegerField()


class RoundSummary(serializers.ModelSerializer):
    """A round's numbers: `reasons` why no more was done, `broken`: how many rules and amounts did not hold."""

    reasons = serializers.SerializerMethodField()

    class Meta:
        model = BalanceRound
        fields = ("at", "mode", "level", "moves", "figures", "reasons", "broken")
        read_only_fields = fields

    @extend_schema_field(RoundReasonOutput(many=True))
    def get_reasons(self, row: BalanceRound) -> Any:
        return RoundReasonOutput(reporting.reasons(row, texts=0), many=True).data


def _parameters(states: str) -> list[OpenApiParameter]:
    """What a history is asked by."""
    day = "A day like 2026-05-04 or a time like 2026-05-04T06:00, without a zone in the plant's own"
    return [
        OpenApiParameter("from", str, description=f"{day}; begin of the period."),
        OpenApiParameter("to", str, description=f"{day}; its end, a day counts whole."),
        OpenApiParameter("mode", str, enum=tuple(history.MODES), description="real: not shadow."),
        OpenApiParameter("state", str, description=states),
    ]


class RoundPages(Pages):
    """Rounds by their moment, of which there is one each."""

    def get_ordering(self, request: HttpRequest, queryset: Any, view: Any) -> tuple[str, ...]:
        """Newest first; not as the moves of the same door."""
        return ("-at",)


class RecommendationViewSet(SleepSavings, Readable):
    """Moves that rounds decided, newest first, with reason, numbers and what became of them."""

    queryset = Recommendation.objects.select_related(
        "machine__environment", "source", "destination", "plan"
    )
    serializer_class = RecommendationSerializer
    permission_classes = (permissions.IsAuthenticated, PoolPermission)
    filterset_fields = ("state", "why")
    cursor_ordering = ("-created_at", "-pk")
    ordering_fields = ("created_at",)

    def filter_queryset(self, queryset: Any) -> Any:
        """By period, pool, machine and mode too."""
        rows = super().filter_queryset(queryset)
        if self.action != "list":
            return rows
        return history.moves(rows, history.asked(self.request.query_params, history.outcomes()))

    @extend_schema(
        parameters=[
            *_parameters("What became of them."),
            OpenApiParameter("pool", str, description="A resource pool, with those below it."),
            OpenApiParameter("machine", str, description="Written as environment/machine."),
        ]
    )
    def list(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        """Newest first; of a period, a resource pool, a machine, a mode, an outcome."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        parameters=_parameters(
            "moves: some were decided; nothing: none; broken: a rule or an amount did not hold."
        ),
        responses={200: RoundSummary(many=True)},
    )
    @action(detail=False, methods=["get"], pagination_class=RoundPages, filter_backends=())
    def rounds(self, request: HttpRequest) -> Response:
        """The rounds of the last 14 days, newest first; of a period, a mode, an outcome."""
        rows = history.rounds(history.asked(request.query_params, history.ROUNDS))
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(RoundSummary(page, many=True).data)

    @extend_schema(request=ApproveMoveInput, responses={200: RecommendationSerializer})
    @action(detail=True, methods=["post"])
    def approve(self, request: HttpRequest, pk: str) -> Response:
        """Begin the move; one that is part of a plan with all others of it."""
        data = ApproveMoveInput(data=request.data)
        data.is_valid(raise_exception=True)
        row = self.get_object()
        row = recommending.decide(request.user, row, approve=True, **data.validated_data)
        return Response(RecommendationSerializer(row).data)

    @extend_schema(request=ReasonInput, responses={200: RecommendationSerializer})
    @action(detail=True, methods=["post"])
    def reject(self, request: HttpRequest, pk: str) -> Response:
        """Do without it; of a plan under way, begin no further step."""
        row = recommending.decide(
            request.user, self.get_object(), approve=False, reason=_reason(request)
        )
        return Response(RecommendationSerializer(row).data)

    @extend_schema(
        operation_id="recommendations_heat_of", responses={200: HeatChangeOutput(many=True)}
    )
    @action(detail=True, methods=["get"], url_path="heat", pagination_class=None)
    def heat_of(self, request: HttpRequest, pk: str) -> Response:
        """The pool's ratios now, and with this move made."""
        rows = recommending.before_after(self.get_object())
        return Response(HeatChangeOutput(rows, many=True).data)

    @extend_schema(responses={200: HeatChangeOutput(many=True)})
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=())
    def heat(self, request: HttpRequest) -> Response:
        """The pool's ratios now, and with every move made that waits for a person."""
        return Response(HeatChangeOutput(recommending.before_after(), many=True).data)

    @extend_schema(responses={200: RoundOutput})
    @action(
        detail=False, methods=["get"], pagination_class=None, filter_backends=(), url_path="round"
    )
    def last_round(self, request: HttpRequest) -> Response:
        """The last round: what it decided, and why it did nothing or no more."""
        row = reporting.last()
        told = {"round": row, "next_at": recommending.next_round()}
        return Response(RoundOutput(told).data)

    @extend_schema(responses={200: ShadowSumOutput(many=True)})
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=())
    def shadow(self, request: HttpRequest) -> Response:
        """What shadow would have done in the last week, for all and by resource pool."""
        rows = reporting.shadow_sums(timezone.now())
        return Response(ShadowSumOutput(rows, many=True).data)

    @extend_schema(request=CalendarInput, responses={200: CalendarOutput})
    @action(detail=False, methods=["get", "post"], pagination_class=None, filter_backends=())
    def calendar(self, request: HttpRequest) -> Response:
        """GET: what holds by shift or until a date. POST: these lines in place of those there were."""
        if request.method == "POST":
            data = CalendarInput(data=request.data)
            data.is_valid(raise_exception=True)
            hours.set_calendar(request.user, data.validated_data["lines"], _reason(request))
        return Response(CalendarOutput({"lines": hours.kept()}).data)

    @extend_schema(request=ConsolidationInput, responses={200: ConsolidationSerializer})
    @action(detail=False, methods=["get", "post"], pagination_class=None, filter_backends=())
    def consolidation(self, request: HttpRequest) -> Response:
        """GET: when hosts sleep that are not needed, and what the last round decided. POST: set it."""
        if request.method == "POST":
            data = ConsolidationInput(data=request.data)
            data.is_valid(raise_exception=True)
            consolidating.set_consolidation(request.user, **data.validated_data)
        return Response(ConsolidationSerializer(consolidating.told()).data)

    @extend_schema(request=EmptyHostInput, responses={202: EmptyingOutput})
    @action(
        detail=False,
        methods=["post"],
        pagination_class=None,
        filter_backends=(),
        url_path="consolidation/empty",
    )
    def consolidation_empty(self, request: HttpRequest) -> Response:
        """Empty the host that the last round has named, by moves as in a drain, and let it sleep."""
        data = EmptyHostInput(data=request.data)
        data.is_valid(raise_exception=True)
        row = consolidating.approve(
            request.user, data.validated_data["host"], data.validated_data.get("reason", "")
        )
        return Response(EmptyingOutput(row).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=ModeInput, responses={200: BalancerSerializer})
    @action(detail=False, methods=["get", "post"])
    def mode(self, request: HttpRequest) -> Response:
        """GET: mode, level and the last round's figures. POST: set mode and level."""
        if request.method == "POST":
            data = ModeInput(data=request.data)
            data.is_valid(raise_exception=True)
            recommending.set_mode(request.user, **data.validated_data)
        return Response(BalancerSerializer(recommending.balancer()).data)
