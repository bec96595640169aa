"""Metrics: the host agent, the list of every metric, objectives, Prometheus' configuration and rules."""

from .prometheus import ConfigError, PrometheusConfig, write
from .registry import METRICS, Metric

__all__ = ["METRICS", "ConfigError", "Metric", "PrometheusConfig", "write"]
