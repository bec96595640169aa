"""Sentences that Millwright itself gives as reasons, in the language of whoever reads them.

They are written once, in English, by processes that serve everybody; what people wrote stays as they wrote it.
"""

from __future__ import annotations

import re
from decimal import Decimal

from django.utils.formats import number_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from millwright.core.balancing import Said, read

from .sentences import ONE_WORD, SENTENCES

_STATES = {
    "stopped": _("stopped"),
    "paused": _("paused"),
    "crashed": _("crashed"),
    "absent": _("absent"),
    "unknown": _("unknown"),
}


def _pattern(sentence: str) -> re.Pattern[str]:
    """What the sentence looks like with its holes filled; names of hosts and machines hold no space."""
    escaped = re.escape(sentence)
    return re.compile(
        re.sub(
            r"%\\\((\w+)\\\)s",
            lambda hole: f"(?P<{hole[1]}>{r'[^ ]+' if hole[1] in ONE_WORD else '.+'})",
            escaped,
        )
    )


_KNOWN = tuple((_pattern(written), read) for written, read in SENTENCES)
#: Those without holes, of which a table of many hosts has many.
_WHOLE = {written: read for written, read in SENTENCES if "%(" not in written}


def number(value: float, decimals: int) -> str:
    """The number, rounded, with the decimal sign of the language that is active."""
    # Django cuts what it is not told to show.
    return str(number_format(Decimal(f"{value:.{decimals}f}"), decimals))


def said(text: str) -> str:
    """The sentence in the language that is active; what is none of Millwright's own comes back as it is."""
    if isinstance(text, Said) and text.parts:
        return read(text.parts, gettext, number, others=_by_pattern)
    return _by_pattern(text)


def _by_pattern(text: str) -> str:
    """What was kept as English text alone, found again in the table of sentences."""
    if (whole := _WHOLE.get(text)) is not None:
        return str(whole)
    for pattern, words in _KNOWN:
        if match := pattern.fullmatch(text):
            facts = match.groupdict()
            if "state" in facts:
                if facts["state"] not in _STATES:
                    continue
                facts["state"] = str(_STATES[facts["state"]])
            if facts.get("by") == "policy":
                facts["by"] = str(_("policy"))
            return str(words) % facts
    if "; " in text:
        # Several in one, as what a machine goes without.
        return "; ".join(_by_pattern(part) for part in text.split("; "))
    return text
