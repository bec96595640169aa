"""`python -m millwright.orchestrator`: the orchestrator as a process."""

from __future__ import annotations

import logging
import os
import signal
import sys

import structlog


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millwright.settings.django")
    import django

    django.setup()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ]
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from millwright.settings import get_settings

    from .metrics import serve
    from .service import Service

    service = Service(get_settings())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop.set())
    serve(service, get_settings().orchestrator_metrics_port)
    service.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
