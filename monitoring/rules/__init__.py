"""Prometheus' rules, generated from the objectives: recording rules, alerts, Alertmanager's routes."""

from pathlib import Path

from .alertmanager import alertmanager_document
from .alerts import ALERTS, Alert
from .build import Group, Rule
from .documents import rule_documents

#: The rules of the shipped objectives as files; a test holds them against the generator.
FOLDER = Path(__file__).parent

__all__ = ["ALERTS", "FOLDER", "Alert", "Group", "Rule", "alertmanager_document", "rule_documents"]
