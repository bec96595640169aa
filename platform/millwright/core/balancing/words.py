"""Sentences that remember what they say: a code and facts, said in English and, by whoever has a translator, in others.

What the balancer answers is text for people, and kept for later readers of any language. `say` makes a sentence of
the table `sentences.SENTENCES`; its parts (`Said.parts`) are data that can be stored, and `read` says them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .sentences import MODES, NOT_KNOWN, NUMBERS, RUNS_OUT, SENTENCES, STATES

#: Words in another language.
Translator = Callable[[str], str]
#: A number with so many decimals, as it is written in another language.
Number = Callable[[float, int], str]
#: One sentence as data: {"code", "facts"}.
Part = Mapping[str, Any]

#: Names that one list says before it says how many more there are.
NAMES = 8


def english(text: str) -> str:
    """The words as they are."""
    return text


def plain(value: float, decimals: int) -> str:
    """The number with a decimal point."""
    return f"{value:.{decimals}f}"


class Said(str):
    """English text that remembers its sentences."""

    __slots__ = ("parts",)
    parts: tuple[dict[str, Any], ...]

    def __new__(cls, text: str = "", parts: Iterable[dict[str, Any]] = ()) -> Said:
        made = super().__new__(cls, text)
        made.parts = tuple(parts)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Said, (str(self), self.parts)


def say(code: str, **facts: Any) -> Said:
    """One sentence of the table. Facts are texts, numbers, lists of names, and other sentences.

    Raises:
        KeyError: no such sentence, or a fact that it wants is missing.
    """
    part = {"code": code, "facts": {name: _fact(value) for name, value in facts.items()}}
    return Said(_read_one(part, english, plain, english), (part,))


def together(texts: Iterable[str]) -> Said:
    """Several sentences as one text."""
    kept = [text for text in texts if text]
    parts = [part for text in kept for part in parts_of(text)]
    return Said("; ".join(kept), parts)


def overcommitted(kind: str, host: str, used: float, has: float, name: str = "") -> Said:
    """That a host has promised more than it has, in bytes, bytes a second, CPUs or pieces; `name`: of what kind."""
    which = {"name": name} if name else {}
    code = f"overcommit.{kind}"
    if kind in ("memory", "storage"):
        return say(code, host=host, wanted_bytes=float(used), free_bytes=float(has), **which)
    factor = 8e-6 if kind == "nic" else 1.0
    return say(code, host=host, wanted=f"{used * factor:g}", free=f"{has * factor:g}", **which)


def parts_of(text: str) -> list[dict[str, Any]]:
    """A text as data; text of others (a host's error, say) as what it is."""
    if isinstance(text, Said):
        return list(text.parts)
    return [{"code": "text", "facts": {"text": str(text)}}] if text else []


def read(
    parts: Sequence[Part],
    translate: Translator = english,
    number: Number = plain,
    sep: str = "; ",
    others: Translator = english,
) -> str:
    """The sentences in words. A code that is not known, as of a later release, is named.

    `others`: says what stands in no table of the balancer, as an operation's error.
    """
    return sep.join(_read_one(part, translate, number, others) for part in parts)


def runs_out(name: str, translate: Translator = english) -> str:
    """What runs out first on hosts (a name of `Capacity.limited_by`) in words."""
    if name in RUNS_OUT:
        return translate(RUNS_OUT[name])
    for begin, words in RUNS_OUT.items():
        if begin.endswith(" ") and name.startswith(begin):
            return translate(words) % {"name": name.removeprefix(begin)}
    return name


def _fact(value: Any) -> Any:
    if isinstance(value, Said):
        return list(value.parts)
    if isinstance(value, (str, bool)) or value is None:
        return str(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        found: list[Any] = []
        for each in value:
            made = _fact(each)
            found.extend(made) if isinstance(made, list) else found.append(made)
        return found
    whole = float(value)
    return int(whole) if whole.is_integer() and not isinstance(value, float) else round(whole, 6)


def _read_one(part: Part, translate: Translator, number: Number, others: Translator) -> str:
    sentence = SENTENCES.get(part["code"])
    facts = part.get("facts", {})
    if sentence is None:
        return translate(NOT_KNOWN) % {"code": part["code"]}
    if part["code"] == "text":
        return others(str(facts["text"]))
    return translate(sentence) % {
        name: _shown(name, value, translate, number, others) for name, value in facts.items()
    }


def _shown(name: str, value: Any, translate: Translator, number: Number, others: Translator) -> str:
    if isinstance(value, str):
        if name == "why":
            return others(value)
        if name == "state":
            return translate(STATES.get(value, value))
        return translate(MODES.get(value, value)) if name == "mode" else value
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return read(value, translate, number, others=others)
    if isinstance(value, list):
        names = [str(each) for each in value]
        if len(names) <= NAMES:
            return ", ".join(names)
        return translate(NUMBERS["more"]) % {
            "names": ", ".join(names[: NAMES - 1]),
            "count": len(names) - NAMES + 1,
        }
    if isinstance(value, int):
        return str(value)
    if value is None:
        return "–"
    if name.endswith("_ratio"):
        return translate(NUMBERS["percent"]) % {"number": number(value * 100, 0)}
    if name.endswith("_bytes"):
        return translate(NUMBERS["size"]) % {"number": number(value / 2**30, 1)}
    if name.endswith("_s"):
        return number(value, 0)
    return number(value, 2)
