"""Consoles for people: the orchestrator holds the hosts' certificates, so it opens them at its desk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connections

from millwright.desk import Refused
from millwright.environments import consoles
from millwright.hypervisor import ConsoleStream, HypervisorError
from millwright.operations import Hypervisors

OPEN_S = 20.0


def opener(
    hosts: Hypervisors,
) -> Callable[[Mapping[str, Any]], tuple[ConsoleStream, dict[str, Any]]]:
    """What the desk does for `console`: the stream of the machine of an open visit.

    The visit is looked up in the database, which says whether the person has opened it; a machine cannot
    be named.
    """

    def console(words: Mapping[str, Any]) -> tuple[ConsoleStream, dict[str, Any]]:
        try:
            visit = consoles.to_connect(str(words.get("visit", "")))
        except ValidationError as error:
            raise Refused("; ".join(error.messages)) from None
        finally:
            connections.close_all()
        try:
            machine = visit.machine
            host = hosts.get(machine.host.name)
            opens = host.screen_stream if visit.kind == "screen" else host.console_stream
            stream = opens(machine.pk, deadline_s=OPEN_S)
        except HypervisorError as error:
            raise Refused(str(error)) from None
        return stream, {"machine": str(machine), "host": machine.host.name}

    return console
