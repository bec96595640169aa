"""The rules as files."""

from __future__ import annotations

from typing import Any

from monitoring.objectives import Objectives

from . import alerts, recording


def rule_documents(objectives: Objectives) -> dict[str, dict[str, Any]]:
    """File name → document of groups."""
    return {
        "slo.yml": {"groups": [group.document() for group in recording.groups(objectives)]},
        "alerts.yml": {"groups": [group.document() for group in alerts.groups(objectives)]},
    }
