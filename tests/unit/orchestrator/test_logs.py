"""The log is JSON, with the operation's id."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from millwright.orchestrator.logs import set_up


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    written = io.StringIO()
    set_up(written)
    yield written
    root.handlers[:], root.level = before, level


def test_every_line_is_json_and_names_the_operation(stream: io.StringIO) -> None:
    log = logging.getLogger("millwright.test")
    with structlog.contextvars.bound_contextvars(operation="op-1"):
        log.info("step %s", "define")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["operation"], first["level"]) == ("step define", "op-1", "info")
    assert "operation" not in second
    assert "ValueError: broken" in second["exception"]
