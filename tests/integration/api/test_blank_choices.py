"""An answer may hold what its column may: a choice that may be empty is told so in the API's document."""

from __future__ import annotations

from collections.abc import Iterator

import millwright.api.urls  # noqa: F401  (loads every serializer)
import pytest
from django.db import models
from rest_framework import serializers

pytestmark = pytest.mark.django_db


def _all(kind: type[serializers.ModelSerializer]) -> Iterator[type[serializers.ModelSerializer]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all(below)


def test_choices_that_may_be_empty_are_documented_so() -> None:
    seen, wrong = 0, []
    for kind in _all(serializers.ModelSerializer):
        if not kind.__module__.startswith("millwright.") or not hasattr(kind, "Meta"):
            continue
        columns = {
            column.name: column
            for column in kind.Meta.model._meta.get_fields()
            if isinstance(column, models.Field)
        }
        for name, field in kind().fields.items():
            column = columns.get(field.source or name)
            if not isinstance(field, serializers.ChoiceField) or column is None:
                continue
            seen += 1
            if column.blank and isinstance(column, models.CharField) and not field.allow_blank:
                wrong.append(f"{kind.__name__}.{name}")
    assert seen > 10
    assert wrong == []
