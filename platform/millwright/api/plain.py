"""Serializers that read many rows fast: what a field does is found out once for a class, not once for a row.

From models' instances they read as REST framework does, by readers that are built from the fields once. Lists and
single things they make of columns alone, where that is possible: half of the time of an answer is otherwise that of
making instances, one for each table joined.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar

from django.core.exceptions import FieldDoesNotExist
from django.db.models import ForeignKey, QuerySet
from django.utils.timezone import get_default_timezone
from rest_framework import fields, relations, serializers

#: A row → the value of one field as JSON has it.
Reader = Callable[[Any], Any]
#: Field that is no column → the columns that it is made of, and how.
Made = dict[str, tuple[tuple[str, ...], Callable[..., Any]]]
#: Field that is made of another table's rows → what it is for all keys at once, by key; a list where a key is missing.
Gathered = dict[str, Callable[[Collection[Any]], dict[Any, Any]]]


class PlainSerializer(serializers.ModelSerializer):
    """A `ModelSerializer` whose answers are made by readers that were built from its fields once.

    Its methods must not ask for `self.context`: the one instance that they belong to has none.
    """

    #: What each of these classes has, as REST framework demands it.
    Meta: ClassVar[Any]
    made_of: ClassVar[Made] = {}
    gathered: ClassVar[Gathered] = {}

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """The row's fields, in their order."""
        return {name: read(instance) for name, read in _readers(type(self))}


@dataclass(frozen=True, slots=True)
class Shape:
    """How answers are made of columns."""

    columns: tuple[str, ...]
    plain: tuple[tuple[str, str, Reader | None], ...]
    gathered: tuple[tuple[str, Callable[[Collection[Any]], dict[Any, Any]]], ...]
    made: tuple[tuple[str, tuple[str, ...], Callable[..., Any]], ...]
    names: tuple[str, ...]

    def of(self, queryset: QuerySet) -> QuerySet:
        """The same rows as dictionaries of these columns."""
        return queryset.prefetch_related(None).values(*self.columns)

    def write(self, rows: Collection[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of `of` as the API has them; one query more for each field that is gathered."""
        keys = [row["pk"] for row in rows] if self.gathered else []
        together = {name: gather(keys) for name, gather in self.gathered}
        return [self._write(row, together) for row in rows]

    def _write(self, row: dict[str, Any], together: dict[str, Any]) -> dict[str, Any]:
        # In the order of the fields from the beginning: later assignments keep it.
        made = dict.fromkeys(self.names)
        for name, column, convert in self.plain:
            value = row[column]
            made[name] = value if value is None or convert is None else convert(value)
        for name, columns, make in self.made:
            made[name] = make(*[row[column] for column in columns])
        for name, known in together.items():
            made[name] = known.get(row["pk"], [])
        return made


def shape(cls: type[serializers.BaseSerializer]) -> Shape | None:
    """How a serializer's answers are made of columns; None where a field is neither a column nor said to be made."""
    return _shape(cls) if issubclass(cls, PlainSerializer) else None


def gather(cls: type[PlainSerializer], queryset: QuerySet, by: str) -> dict[Any, list[Any]]:
    """Rows of another table as the API has them, by the column `by`."""
    known = shape(cls)
    if known is None:
        raise TypeError(f"{cls.__name__}: has fields that are no columns")
    rows = list(queryset.values(*known.columns, by))
    found: dict[Any, list[Any]] = defaultdict(list)
    for row, written in zip(rows, known.write(rows), strict=True):
        found[row[by]].append(written)
    return found


@cache
def _shape(cls: type[PlainSerializer]) -> Shape | None:
    """Built at the first use."""
    shown = list(cls()._readable_fields)
    plain, made = [], []
    for field in shown:
        name = field.field_name
        if name in cls.gathered:
            continue
        if name in cls.made_of:
            made.append((name, *cls.made_of[name]))
            continue
        path, convert = _column(field)
        if path is None or not _leads(cls.Meta.model, path):
            return None
        plain.append((name, path, convert))
    # In the order of the fields, which is the order in which the database joins: what the rows belong to first.
    wanted = dict.fromkeys(path for _name, path, _convert in plain)
    wanted.update(dict.fromkeys(column for _name, columns, _make in made for column in columns))
    if cls.gathered:
        wanted["pk"] = None
    return Shape(
        tuple(wanted),
        tuple(plain),
        tuple(cls.gathered.items()),
        tuple(made),
        tuple(field.field_name for field in shown),
    )


def _column(field: Any) -> tuple[str | None, Reader | None]:
    """Where the value of a field stands, as in a query, and what is done with it."""
    if isinstance(
        field,
        serializers.SerializerMethodField | serializers.BaseSerializer | relations.ManyRelatedField,
    ):
        return None, None
    path = field.source.replace(".", "__")
    if isinstance(field, relations.SlugRelatedField):
        return f"{path}__{field.slug_field}", None
    if type(field) is relations.PrimaryKeyRelatedField:
        return path, None
    if type(field) in _AS_THEY_ARE:
        return path, None
    return path, _WRITTEN.get(type(field), field.to_representation)


def _leads(model: Any, path: str) -> bool:
    """Whether a path goes from table to table by foreign keys and ends at a column."""
    *through, last = path.split("__")
    try:
        for part in through:
            relation = model._meta.get_field(part)
            if not isinstance(relation, ForeignKey):
                return False
            model = relation.related_model
        found = model._meta.get_field(last)
    except FieldDoesNotExist:
        return False
    return bool(found.concrete) and not found.many_to_many


@cache
def _readers(cls: type[PlainSerializer]) -> tuple[tuple[str, Reader], ...]:
    """Name and reader of each field that is shown; built at the first use."""
    shown: Iterable[Any] = cls()._readable_fields
    return tuple((field.field_name, _reader(field)) for field in shown)


def _reader(field: Any) -> Reader:
    if isinstance(field, serializers.SerializerMethodField):
        method: Reader = getattr(field.parent, field.method_name)
        return method
    if isinstance(field, serializers.ListSerializer) and isinstance(field.child, PlainSerializer):
        return _many(field.source, type(field.child))
    if isinstance(field, relations.ManyRelatedField) and isinstance(
        field.child_relation, relations.SlugRelatedField
    ):
        return _slugs(field.source, field.child_relation.slug_field)
    if isinstance(field, relations.SlugRelatedField):
        return _path(field, f"{field.source}.{field.slug_field}", str)
    if type(field) is relations.PrimaryKeyRelatedField and "." not in field.source:
        return attrgetter(field.parent.Meta.model._meta.get_field(field.source).attname)
    return _path(field, field.source, _WRITTEN.get(type(field), field.to_representation))


def _path(field: Any, path: str, convert: Callable[[Any], Any]) -> Reader:
    """What stands at the end of a path of attributes; what has no such attribute is read by the field itself."""
    get = attrgetter(path)
    column = path in {row.attname for row in field.parent.Meta.model._meta.concrete_fields}

    def whole(row: Any) -> Any:
        value = field.get_attribute(row)
        return None if value is None else field.to_representation(value)

    def read(row: Any) -> Any:
        try:
            value = get(row)
        except AttributeError:
            return whole(row)  # a relation that is not there: the field's default
        if value is None:
            return None
        return convert(value) if column or not callable(value) else whole(row)

    return read


def _many(source: str, cls: type[PlainSerializer]) -> Reader:
    get = attrgetter(source)

    def read(row: Any) -> list[dict[str, Any]]:
        readers = _readers(cls)
        return [{name: one(each) for name, one in readers} for each in get(row).all()]

    return read


def _slugs(source: str, slug: str) -> Reader:
    get, name = attrgetter(source), attrgetter(slug)
    return lambda row: [name(each) for each in get(row).all()]


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    return value if type(value) is str else str(value)


def _time(value: dt.datetime) -> str:
    """As REST framework writes times, in the plant's zone."""
    text = value.astimezone(get_default_timezone()).isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


#: Kinds of fields whose values are written without the field.
_WRITTEN: dict[type, Callable[[Any], Any]] = {
    fields.DateTimeField: _time,
    fields.CharField: _text,
    fields.SlugField: _text,
    fields.UUIDField: str,
    fields.JSONField: _same,
    fields.BooleanField: bool,
    fields.IntegerField: int,
}
#: Those whose columns come from the database as they are sent.
_AS_THEY_ARE = frozenset(
    {
        fields.SlugField,
        fields.JSONField,
        fields.BooleanField,
        fields.IntegerField,
        fields.ChoiceField,
    }
)
