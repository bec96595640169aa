"""Sentences of the balancer in answers: in the caller's language, and as the data that they are."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from millwright.core.balancing import Said, parts_of
from millwright.environments.reasons import said


class SaidField(serializers.CharField):
    """The sentence in the language that the caller accepts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"read_only": True, **options})

    def to_representation(self, value: Any) -> str:
        return said(value)


class PartOutput(serializers.Serializer):
    """One sentence as data: its `code`, and the `facts` in it (numbers in base units)."""

    code = serializers.CharField()
    facts = serializers.DictField()


class SaidParts(serializers.ListField):
    """The sentences of a text as data, of the field that is named as its source."""

    child = PartOutput()

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"read_only": True, **options})

    def to_representation(self, value: Any) -> list[dict[str, Any]]:
        texts = (value,) if isinstance(value, str) else value
        return [part for text in texts for part in parts_of(text)]


class KeptText(serializers.Serializer):
    """A row that was kept as text and as data."""

    text = serializers.SerializerMethodField()

    def get_text(self, row: dict[str, Any]) -> str:
        return said(Said(row["text"], row.get("parts", ())))


class KeptReason(KeptText):
    """As well with why it is so, or by what it is being mended."""

    parts = PartOutput(many=True, default=list)
    why = serializers.SerializerMethodField()
    why_parts = PartOutput(many=True, default=list)
    mending = serializers.BooleanField()

    def get_why(self, row: dict[str, Any]) -> str:
        return said(Said(row["why"], row.get("why_parts", ())))
