"""Metrics: the host agent, the list of every metric, objectives, Prometheus' configuration and rules."""

from .alerting import alertmanager_command, alertmanager_program, write_alertmanager
from .prometheus import ConfigError, PrometheusConfig, write
from .registry import METRICS, Metric

__all__ = [
    "METRICS",
    "ConfigError",
    "Metric",
    "PrometheusConfig",
    "alertmanager_command",
    "alertmanager_program",
    "write",
    "write_alertmanager",
]
