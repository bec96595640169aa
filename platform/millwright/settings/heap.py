"""The memory of a process that answers requests."""

from __future__ import annotations

import gc


def settle() -> None:
    """Take what was loaded so far for permanent: the collector no longer walks it.

    A full collection over all models, views and routes stops every request of the process for 150 ms.
    """
    from django.urls import get_resolver

    # Loaded now and not by the first request, which would be after the line.
    get_resolver().url_patterns  # noqa: B018 - for its effect
    gc.collect()
    gc.freeze()
