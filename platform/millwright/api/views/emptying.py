"""Hosts that are emptied so that they can sleep: what is offered, how far one is, what became of earlier ones."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from millwright.api.saying import KeptText, PartOutput, SaidField
from millwright.balancing import emptying
from millwright.balancing.models import HostDrain

from .environments import ReasonInput


class OfferedMoveOutput(serializers.Serializer):
    """`seconds`: expected."""

    machine = serializers.CharField()
    destination = serializers.CharField()
    seconds = serializers.FloatField()


class SleepAnswerOutput(KeptText):
    """`what`: wake, sleep, empty (it could sleep once its machines have moved), emptying (it is at it), called_off,
    kept (awake, and why) or more (so many more are kept); `host` empty: all. Of one to empty `mode` (automatic: rounds begin it, recommend: a person
    does) and its moves."""

    host = serializers.CharField(allow_blank=True)
    what = serializers.CharField()
    until = serializers.DateTimeField(allow_null=True)
    parts = PartOutput(many=True, default=list)
    mode = serializers.CharField(required=False)
    moves = OfferedMoveOutput(many=True, required=False)


class EmptyHostInput(ReasonInput):
    """`host`: the one that the last round would empty."""

    host = serializers.CharField(max_length=64)


class EmptyingOutput(serializers.ModelSerializer):
    """A host that is emptied to sleep until then. `state`: active, done (it sleeps) or cancelled, and why (`note`).

    `moved` of the `machines` that were on it have left. `requested_by` empty: rounds by themselves. Reason and note
    are in the caller's language, `reason_parts` and `note_parts` the codes and facts of them."""

    host = serializers.CharField(source="host.name")
    requested_by = serializers.CharField(allow_null=True)
    moved = serializers.SerializerMethodField()
    reason = SaidField(source="why")
    reason_parts = PartOutput(many=True, read_only=True)
    note = SaidField(source="remark")
    note_parts = PartOutput(many=True, read_only=True)

    class Meta:
        model = HostDrain
        fields = (
            "host",
            "state",
            "machines",
            "moved",
            "sleep_until",
            "requested_by",
            "reason",
            "reason_parts",
            "note",
            "note_parts",
            "created_at",
            "ended_at",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_moved(self, row: HostDrain) -> int | None:
        return emptying.progress(row).moved if row.state == "active" else None
