"""The process's log: one JSON object a line, with the operation's id where there is one."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog


def set_up(stream: TextIO | None = None) -> None:
    """Send all logging of the process, libraries' too, as JSON to a stream (standard error if none is given)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for chatty in ("httpx", "httpcore", "dbos", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
