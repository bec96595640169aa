"""Alertmanager's configuration: who is told, and what is kept silent because something larger has been said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Source alert → (what it silences, labels that must be equal). A dead host silences its machines.
INHIBITIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("HostDown", ('scope="environment"',), ("host",)),
    ("HostDown", ('alertname=~"HostAgentDown|LibvirtHangs"',), ("host",)),
    (
        "EnvironmentDown",
        ('scope="environment"', 'alertname!="EnvironmentDown"'),
        ("environment",),
    ),
    ("GatewayDown", ('alertname=~"EnvironmentUnmeasured|PortalDown"',), ()),
    ("OrchestratorDown", ('alertname=~"EnvironmentUnmeasured|LedgersNotCompared"',), ()),
)


def alertmanager_document(webhooks: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The configuration as data.

    Args:
        webhooks: severity ("page", "ticket") → URL that is told. Without one the alert stands on Alertmanager's page.
    """
    hooks = dict(webhooks or {})
    receivers: list[dict[str, Any]] = [{"name": "nobody"}]
    routes: list[dict[str, Any]] = [
        # It never ends by itself; only a receiver that misses it has a use for it.
        {"matchers": ['alertname="Watchdog"'], "receiver": "nobody", "repeat_interval": "5m"}
    ]
    for severity in ("page", "ticket"):
        receiver: dict[str, Any] = {"name": severity}
        if severity in hooks:
            receiver["webhook_configs"] = [{"url": hooks[severity], "send_resolved": True}]
        receivers.append(receiver)
        routes.append(
            {
                "matchers": [f'severity="{severity}"'],
                "receiver": severity,
                "group_wait": "5s" if severity == "page" else "1m",
                "repeat_interval": "1h" if severity == "page" else "24h",
            }
        )
    return {
        "route": {
            "receiver": "nobody",
            "group_by": ["alertname", "host", "environment"],
            "group_interval": "30s",
            "routes": routes,
        },
        "receivers": receivers,
        "inhibit_rules": [
            {
                "source_matchers": [f'alertname="{source}"'],
                "target_matchers": list(targets),
                **({"equal": list(equal)} if equal else {}),
            }
            for source, targets, equal in INHIBITIONS
        ],
    }
