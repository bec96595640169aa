"""Small words of the portal's templates: menu entries, state badges, sizes, ages."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join, json_script
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from millwright.core.balancing import Said, runs_out
from millwright.environments.briefs import BRIEFS
from millwright.environments.reasons import number, said
from millwright.portal.words import (
    ACTIONS,
    CAUSE_WORDS,
    NETWORK_STATES,
    PRICE_PARTS,
    STEPS,
    VERBS,
    WORDS,
)

register = template.Library()

#: State → colour of the design system. A colour never stands alone: the word is always printed.
STATE_COLOURS = {
    "good": "green",
    "silent": "red",
    "running": "green",
    "up": "green",
    "succeeded": "green",
    "approved": "green",
    "ready": "green",
    "schedulable": "green",
    "active": "green",
    "pass": "green",
    "provisioning": "blue",
    "building": "blue",
    "queued": "azure",
    "submitted": "azure",
    "reserved": "azure",
    "waiting": "azure",
    "migrating": "blue",
    "removing": "blue",
    "undoing": "orange",
    "draft": "secondary",
    "degraded": "orange",
    "suspect": "orange",
    "cordoned": "orange",
    "awake": "green",
    "falling_asleep": "azure",
    "asleep": "azure",
    "waking": "azure",
    "draining": "orange",
    "emptying": "azure",
    "maintenance": "orange",
    "failed": "red",
    "down": "red",
    "crashed": "red",
    "rejected": "red",
    "refused": "red",
    "asked": "azure",
    "unknown": "yellow",
    "paused": "yellow",
}

#: Words for people; translated where they are shown.
STATE_WORDS = {
    "good": gettext_lazy("good"),
    "silent": gettext_lazy("silent"),
    "running": gettext_lazy("running"),
    "up": gettext_lazy("up"),
    "succeeded": gettext_lazy("succeeded"),
    "approved": gettext_lazy("approved"),
    "ready": gettext_lazy("ready"),
    "schedulable": gettext_lazy("schedulable"),
    "active": gettext_lazy("active"),
    "provisioning": gettext_lazy("being built"),
    "building": gettext_lazy("compiling"),
    "queued": gettext_lazy("queued"),
    "submitted": gettext_lazy("waiting for approval"),
    "reserved": gettext_lazy("reserved"),
    "waiting": gettext_lazy("waiting"),
    "migrating": gettext_lazy("moving"),
    "removing": gettext_lazy("being removed"),
    "removed": gettext_lazy("removed"),
    "undoing": gettext_lazy("being undone"),
    "draft": gettext_lazy("draft"),
    "degraded": gettext_lazy("degraded"),
    "suspect": gettext_lazy("suspect"),
    "cordoned": gettext_lazy("cordoned"),
    "awake": gettext_lazy("awake"),
    "falling_asleep": gettext_lazy("falling asleep"),
    "asleep": gettext_lazy("asleep"),
    "waking": gettext_lazy("waking"),
    "draining": gettext_lazy("draining"),
    "emptying": gettext_lazy("is being emptied"),
    "maintenance": gettext_lazy("maintenance"),
    "failed": gettext_lazy("failed"),
    "down": gettext_lazy("down"),
    "crashed": gettext_lazy("crashed"),
    "rejected": gettext_lazy("rejected"),
    "unknown": gettext_lazy("unknown"),
    "paused": gettext_lazy("paused"),
    "stopped": gettext_lazy("stopped"),
    "withdrawn": gettext_lazy("withdrawn"),
    "expired": gettext_lazy("expired"),
    "cancelled": gettext_lazy("cancelled"),
    "absent": gettext_lazy("absent"),
    "pending": gettext_lazy("pending"),
    "asked": gettext_lazy("waiting for approval"),
    "refused": gettext_lazy("refused"),
}

_STEP_MARKS = {"succeeded": "✔", "running": "●", "failed": "✖", "undone": "↺", "skipped": "–"}


#: pages that lie below an entry of the menu though their addresses do not
_BELOW = {
    "portal:pool": (
        "portal:balancing",
        "portal:rolling_drains",
        "portal:resource_pools",
        "portal:rules",
        "portal:capacity",
    )
}


@register.simple_tag(takes_context=True)
def menu_item(context: dict[str, Any], view: str, text: str) -> SafeString:
    """One entry of the main menu, marked when the page is below it."""
    url = reverse(view)
    path = context["request"].path if "request" in context else ""
    below = (url, *(reverse(each) for each in _BELOW.get(view, ())))
    here = path == url or (url != reverse("portal:home") and path.startswith(below))
    return format_html(
        '<li class="nav-item{}"><a class="nav-link" href="{}"{}>{}</a></li>',
        " active" if here else "",
        url,
        SafeString(' aria-current="page"') if here else "",
        text,
    )


@register.filter
def state(value: object) -> SafeString:
    """A badge with the state's word in the reader's language."""
    key = str(value)
    return format_html(
        '<span class="badge bg-{0}-lt text-{0}-lt-fg" data-state="{1}">{2}</span>',
        STATE_COLOURS.get(key, "secondary"),
        key,
        STATE_WORDS.get(key, key),
    )


@register.filter
def brief(row: Mapping[str, Any]) -> str:
    """What is said of the many hosts that a placement counts under one code; an unknown one as it was kept."""
    return str(BRIEFS.get(row["code"], row["text"]))


@register.filter
def step_mark(value: object) -> str:
    """A sign for a step's state; the word stands beside it for screen readers."""
    return _STEP_MARKS.get(str(value), "○")


@register.filter
def state_word(value: object) -> str:
    return str(STATE_WORDS.get(str(value), value))


@register.filter
def word(value: object) -> str:
    """A code's word: kinds of operations and objects, service classes, areas."""
    return str(WORDS.get(str(value), value))


@register.filter
def network_state(value: object) -> SafeString:
    """A badge of how a cell stands on a host."""
    key = str(value)
    colours = {"ready": "green", "down": "red", "waiting": "azure"}
    return format_html(
        '<span class="badge bg-{0}-lt text-{0}-lt-fg">{1}</span>',
        colours.get(key, "secondary"),
        NETWORK_STATES.get(key, key),
    )


@register.filter
def own_text(value: object) -> str:
    """A title or summary of a release's own template in the reader's language; anybody else's as it is."""
    return _(str(value)) if value else ""


@register.filter
def cause_word(value: object) -> str:
    """What a cause of the ledger is called; the sum of missing data has a word of its own."""
    return str(CAUSE_WORDS.get(str(value), value))


@register.filter
def verb_word(value: object) -> str:
    """How a row of the ledger came to be."""
    return str(VERBS.get(str(value), value))


@register.filter
def action_word(value: object) -> str:
    """What an audited action's code says, or a reason that Millwright itself gave."""
    key = str(value)
    return str(ACTIONS[key]) if key in ACTIONS else said(key)


register.filter("said", said)


@register.filter
def stands_against(row: Any) -> str:
    """What stands in a machine's way, `{"machine", "why"}`: its name before a reason that does not begin with it."""
    name = row["machine"] if isinstance(row, dict) else row.machine
    why = Said(row["why"], row.get("parts", ())) if isinstance(row, dict) else row.why
    text = said(why)
    return text if not name or name in text else f"{name}: {text}"


@register.filter
def told(row: dict[str, Any]) -> str:
    """What is kept as text and as data, in the reader's language."""
    return said(Said(row["text"], row.get("parts", ())))


@register.filter
def told_why(row: dict[str, Any]) -> str:
    """Why it is so, in the reader's language."""
    return said(Said(row["why"], row.get("why_parts", ())))


@register.filter
def few(names: str, most: int = 6) -> str:
    """The first of names that commas part, and how many more there are."""
    rows = names.split(", ")
    if len(rows) <= most + 1:
        return names
    more = len(rows) - most
    text = ngettext("and %(n)s more", "and %(n)s more", more) % {"n": more}
    return f"{', '.join(rows[:most])} {text}"


@register.filter
def lack(code: object) -> str:
    """What runs out, in words."""
    return runs_out(str(code), _)


@register.filter
def price_parts(parts: dict[str, float]) -> str:
    """What a price in core-seconds is made of; parts that are nothing are left out."""
    return ", ".join(
        f"{PRICE_PARTS.get(name, name)} {value:g}" for name, value in parts.items() if value
    )


@register.filter
def environment_of(machine: object) -> str:
    """The environment's name of "environment/machine"."""
    return str(machine).partition("/")[0]


@register.filter
def step_title(value: object) -> str:
    """A step's title in the reader's language."""
    return str(STEPS.get(str(value), value))


@register.filter
def binary_size(value: int | None) -> str:
    """Bytes for people, in binary units."""
    if value is None:
        return "–"
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        # What would be rounded up to 1024 is one of the next unit.
        if size < (1023.95 if unit == "GiB" else 1023.5) or unit == "TiB":
            return (
                f"{size:.0f} {unit}"
                if unit in ("B", "KiB", "MiB") or size == int(size)
                else f"{size:.1f} {unit}"
            )
        size /= 1024
    raise AssertionError("unreachable: the last unit ends the loop")


@register.filter
def tag_value(value: Any) -> str:
    """A variable's value as IEC 61131-3 writes it: TRUE, not True; a dash where none is known."""
    if value is None:
        return "–"
    return str(value).upper() if isinstance(value, bool) else str(value)


@register.filter
def load(value: float | None) -> str:
    """A ratio for people: 0.834 is 83 %."""
    return "–" if value is None else f"{value * 100:.0f} %"


#: Where a ratio turns to the next tint; numbers stand beside, so that colour says nothing alone.
_HEAT = ((0.5, ""), (0.75, "bg-yellow-lt"), (0.9, "bg-orange-lt"))


@register.filter
def heat_class(value: float | None) -> str:
    """The tint of a ratio in a heat map."""
    if value is None:
        return ""
    return next((name for bound, name in _HEAT if value < bound), "bg-red-lt")


@register.filter
def duration(value: dt.timedelta | float | None) -> str:
    """A length of time as people say it: 7.4 s, 3 min 12 s, 5 h 10 min."""
    if value is None:
        return "–"
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else float(value)
    if seconds < 60:
        return f"{number(seconds, 1)} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    days = int(seconds // 86400)
    return ngettext("%(days)d day", "%(days)d days", days) % {"days": days}


@register.filter
def hours(seconds: float) -> str:
    """Seconds as hours with a decimal: 12.5."""
    return number(seconds / 3600, 1)


@register.filter
def one_decimal(value: float | None) -> str:
    """An amount with a decimal; a dash where it is not known."""
    return "–" if value is None else number(value, 1)


@register.filter
def kwh(value: float) -> str:
    """Energy for people: 0.42 kWh, 12.3 kWh, 1240 kWh."""
    return f"{number(value, 2 if value < 10 else 1 if value < 1000 else 0)} kWh"


@register.filter
def percent(value: float | None) -> str:
    """A share for people; cut, not rounded, so that 99.9996 % is not said to be all."""
    if value is None:
        return _("n/a")
    return f"{math.floor(value * 1e5 + 1e-6) / 1e3:.3f} %"


@register.filter
def share(part: float) -> str:
    """A part of a whole for people, rounded, so that parts add up: 80.2 % and 19.8 %."""
    return f"{part * 100:.1f} %"


@register.filter
def minutes(value: dt.timedelta | float | None) -> str:
    """A length of time in minutes, also a negative one: -3 min."""
    if value is None:
        return "–"
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else float(value)
    return f"{math.floor(seconds / 60)} min"


@register.filter
def minutes_since(value: dt.datetime) -> str:
    """How long ago in minutes, as the wall's script goes on to count: 7 min, 3 h 2 min, 4 d."""
    count = max(0, int((timezone.now() - value).total_seconds() // 60))
    if count < 60:
        return f"{count} min"
    return f"{count // 60} h {count % 60} min" if count < 2880 else f"{count // 1440} d"


@register.filter
def microseconds(value: int) -> str:
    """Virtual time for people."""
    return f"{value / 1000:g} ms" if value < 1_000_000 else duration(value / 1e6)


@register.simple_tag
def trace_data(trace: dict[str, Any], suite: int, test: int) -> SafeString:
    """A trace as data for a chart, and the place where the chart is drawn."""
    name = f"trace-{suite}-{test}"
    return format_html(
        '{}<div id="chart-{}" data-trace="{}"></div>', json_script(trace, name), name, name
    )


@register.filter
def age(value: dt.datetime | None) -> str:
    """How long ago, or "never"."""
    if value is None:
        return _("never")
    seconds = max(0.0, (timezone.now() - value).total_seconds())
    if seconds < 1:
        return _("just now")
    return _("%(duration)s ago") % {"duration": duration(seconds)}


@register.filter
def moment(value: str) -> dt.datetime | None:
    """A moment that was written as text; None where it is none."""
    return parse_datetime(str(value))


@register.filter
def native_name(code: str) -> str:
    """A language's name in that language."""
    return translation.get_language_info(code)["name_local"].capitalize()


@register.filter
def get_item(mapping: Any, key: Any) -> Any:
    """A mapping's value by a key that is itself a variable."""
    return mapping.get(key) if hasattr(mapping, "get") else None


@register.simple_tag(takes_context=True)
def query_with(context: dict[str, Any], **changes: Any) -> str:
    """The page's query string with some parameters changed; None removes one."""
    query = context["request"].GET.copy()
    for name, value in changes.items():
        if value is None:
            query.pop(name, None)
        else:
            query[name] = value
    return f"?{query.urlencode()}" if query else "?"


@register.filter
def control(field: Any) -> SafeString:
    """A form field's input, dressed as the design system has it; for forms that are not ours."""
    dress = {"checkbox": "form-check-input", "radio": "form-check-input", "select": "form-select"}
    kind = getattr(field.field.widget, "input_type", "")
    return SafeString(field.as_widget(attrs={"class": dress.get(kind, "form-control")}))


@register.simple_tag
def cpu_map(cpus: list[dict[str, Any]]) -> SafeString:
    """Who owns which CPU of a host: a box each, as views/pool.py gives them.

    Not a template: a page of the pool has some 800 boxes, which took most of its time.
    """
    roles = {"realtime": _("realtime"), "shared": _("shared"), "housekeeping": _("housekeeping")}
    free = {"realtime": _("free")}

    def owner(cpu: dict[str, Any]) -> str:
        if not cpu["owner"]:
            return free.get(cpu["role"], "\xa0")
        return cpu["owner"] if cpu["vcpu"] is None else f"{cpu['owner']} vCPU {cpu['vcpu']}"

    boxes = (
        (
            cpu["role"],
            " mw-cpu-taken" if cpu["owner"] else "",
            cpu["id"],
            roles[cpu["role"]],
            owner(cpu),
        )
        for cpu in cpus
    )
    box = (
        '<div class="mw-cpu mw-cpu-{}{}"><b>CPU {}</b>{}<div class="text-secondary">{}</div></div>'
    )
    return format_html('<div class="mw-cpus">{}</div>', format_html_join("", box, boxes))
