"""Sentences that Millwright itself gives as reasons, in the language of whoever reads them.

They are written once, in English, by processes that serve everybody; what people wrote stays as they wrote it.
"""

from __future__ import annotations

import re
from typing import Any

from django.utils.translation import gettext_lazy as _

#: As it is written → as it is read. A hole takes what stands there.
_SENTENCES: tuple[tuple[str, Any], ...] = (
    ("nobody decided in time", _("nobody decided in time")),
    ("nobody decided within %(days)s days", _("nobody decided within %(days)s days")),
    ("%(host)s does not answer", _("%(host)s does not answer")),
    ("%(host)s answers again", _("%(host)s answers again")),
    ("%(machine)s is %(state)s", _("%(machine)s is %(state)s")),
    ("it answers", _("it answers")),
    ("the lease has ended", _("the lease has ended")),
    ("upload of %(version)s", _("upload of %(version)s")),
    (
        "request %(name)s by %(who)s, approved by %(by)s",
        _("request %(name)s by %(who)s, approved by %(by)s"),
    ),
    ("policy", _("policy")),
)
_STATES = {
    "stopped": _("stopped"),
    "paused": _("paused"),
    "crashed": _("crashed"),
    "absent": _("absent"),
    "unknown": _("unknown"),
}


def _pattern(sentence: str) -> re.Pattern[str]:
    """What the sentence looks like with its holes filled; names of hosts and machines hold no space."""
    one_word = {"host", "machine", "state", "days", "name"}
    escaped = re.escape(sentence)
    return re.compile(
        re.sub(
            r"%\\\((\w+)\\\)s",
            lambda hole: f"(?P<{hole[1]}>{r'[^ ]+' if hole[1] in one_word else '.+'})",
            escaped,
        )
    )


_KNOWN = tuple((_pattern(written), read) for written, read in _SENTENCES)


def said(text: str) -> str:
    """The sentence in the language that is active; what is none of Millwright's own comes back as it is."""
    for pattern, read in _KNOWN:
        if match := pattern.fullmatch(text):
            facts = match.groupdict()
            if "state" in facts:
                if facts["state"] not in _STATES:
                    continue
                facts["state"] = str(_STATES[facts["state"]])
            if facts.get("by") == "policy":
                facts["by"] = str(_("policy"))
            return str(read) % facts
    return text
