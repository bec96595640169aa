"""`python -m millwright.orchestrator`: the orchestrator as a process."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millwright.settings.django")
    import django

    django.setup()
    from millwright.settings import get_settings

    from .logs import set_up
    from .metrics import serve
    from .service import Service

    set_up()
    service = Service(get_settings())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop.set())
    serve(service, get_settings().orchestrator_metrics_port)
    service.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
