"""Alerts. Each has a runbook of its name in docs/runbooks; a test demands it.

Plain alerts say that something is down now: at 99.9 % a minute's outage already burns at 14.4 times for an hour, so
burn rates say nothing of a single outage. Burn rates are for what has events enough: cycles, and the portal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from monitoring.objectives import Indicator, Objectives

from .build import Group, duration
from .recording import HOUR_S, burning, short

#: Where runbooks lie, for links in alerts.
RUNBOOKS = "docs/runbooks"

Severity = Literal["page", "ticket", "none"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `for_s`: how long it must hold; `scope`: the noun it is about, for inhibition."""

    name: str
    severity: Severity
    scope: Literal["plant", "host", "environment"]
    expr: str
    summary: str
    for_s: int = 0

    def document(self) -> dict[str, Any]:
        held = {"for": duration(self.for_s)} if self.for_s else {}
        return {
            "alert": self.name,
            "expr": self.expr,
            **held,
            "labels": {"severity": self.severity, "scope": self.scope},
            "annotations": {"summary": self.summary, "runbook": f"{RUNBOOKS}/{self.name}.md"},
        }


_WHERE = "{{ $labels.environment }}/{{ $labels.machine }}"
_SEEN_DOWN = (
    "((slo:availability_bad:bool == 1) unless on (environment) (slo:environment_missing:bool == 1))"
)

#: What does not depend on objectives.
ALERTS: tuple[Alert, ...] = (
    Alert(
        "EnvironmentDown",
        "page",
        "environment",
        f"{_SEEN_DOWN} * on (environment) group_left (host) slo:environment_host:info\n"
        f"or on (environment) {_SEEN_DOWN}",
        "{{ $labels.environment }} is down",
        15,
    ),
    Alert(
        "EnvironmentUnmeasured",
        "ticket",
        "environment",
        "slo:environment_missing:bool == 1 and on (environment) slo:eligible:bool == 1",
        "nobody can tell whether {{ $labels.environment }} is up; it counts as down",
        120,
    ),
    Alert(
        "VplcUnscraped",
        "ticket",
        "environment",
        'up{job="vplc"} == 0',
        f"{_WHERE} shows no metrics",
        30,
    ),
    Alert(
        "VplcNotScanning",
        "page",
        "environment",
        "rate(vplc_scans_total[1m]) == 0",
        f"task {{{{ $labels.task }}}} of {_WHERE} stands still",
        30,
    ),
    Alert(
        "VplcFaulted",
        "page",
        "environment",
        "vplc_fault == 1",
        f"{_WHERE} stopped by fault: {{{{ $labels.kind }}}}",
    ),
    Alert(
        "CycleStreak",
        "ticket",
        "environment",
        "(slo:cycle_streak:max and on (environment)"
        " (slo:cycle_streak:max - min_over_time(slo:cycle_streak:max[1h]) > 0))\n"
        '> on (environment) group_left (project, level) slo:objective:limit{objective="cycle-deadline"}',
        "{{ $labels.environment }} missed {{ $value }} cycles one after the other",
    ),
    Alert(
        "RunQueueWait",
        "ticket",
        "environment",
        "avg_over_time(slo:run_queue_wait:ratio[5m])\n"
        '> on (environment) group_left (project, level) slo:objective:limit{objective="run-queue-wait"}',
        "a control vCPU of {{ $labels.environment }} waits for its core: {{ $value | humanizePercentage }}",
        60,
    ),
    Alert(
        "DeviceDown",
        "ticket",
        "environment",
        "vplc_device_good == 0",
        f"{_WHERE} does not reach device {{{{ $labels.device }}}}",
        30,
    ),
    Alert(
        "HostDown",
        "page",
        "host",
        "max by (host) (millwright_host_up) == 0",
        "host {{ $labels.host }} is down",
        10,
    ),
    Alert(
        "HostAgentDown",
        "ticket",
        "host",
        # One that sleeps has no agent to answer.
        'up{job="millwright-agent"} == 0 unless on (host) millwright_host_power{power!="awake"} == 1',
        "the agent of {{ $labels.host }} does not answer",
        60,
    ),
    Alert(
        "HostDoesNotWake",
        "ticket",
        "host",
        "max by (host) (millwright_host_not_waking_seconds) > 300",
        "host {{ $labels.host }} was to wake and has not for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "LibvirtHangs",
        "page",
        "host",
        "millwright_libvirt_hang_seconds > 15",
        "libvirt on {{ $labels.host }} has not answered for {{ $value }} s",
    ),
    Alert(
        "PortalDown",
        "page",
        "plant",
        "slo:portal_up:bool == 0",
        "{{ $labels.endpoint }} does not answer; running vPLCs go on without it",
        60,
    ),
    Alert(
        "OrchestratorDown",
        "page",
        "plant",
        "(max(millwright_orchestrator_active) or vector(0)) == 0",
        "no orchestrator is active: nothing is started, moved or recovered",
        60,
    ),
    Alert(
        "GatewayDown",
        "ticket",
        "plant",
        'up{job="millwright-gateway"} == 0',
        "the gateway does not answer: nobody looks at the cells from outside",
        60,
    ),
    Alert(
        "LedgersDiffer",
        "ticket",
        "environment",
        "millwright_reconciliation_unexplained_seconds > 0",
        "ledger and Prometheus differ by {{ $value }} s more than sampling explains, {{ $labels.environment }}",
    ),
    Alert(
        "LedgersNotCompared",
        "ticket",
        "plant",
        "time() - max(millwright_reconciliation_timestamp_seconds) > 10800",
        "the two ledgers have not been compared for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "RetainedNotCopied",
        "ticket",
        "environment",
        "millwright_retained_copy_failing == 1",
        f"what {_WHERE} retains has not been copied for a quarter of an hour",
        900,
    ),
    Alert(
        "RecommendationsWait",
        "ticket",
        "plant",
        "max(millwright_recommendation_oldest_seconds) > 14400",
        "a move that the balancer recommends has waited for a decision for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "DrainWaits",
        "ticket",
        "host",
        "max by (host) (millwright_drain_waiting_seconds) > 1800",
        "the drain of {{ $labels.host }} has not gone on for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "RuleStaysBroken",
        "ticket",
        "plant",
        "max by (rule) (millwright_rule_broken_seconds) > 3600",
        "rule {{ $labels.rule }} has not been kept for {{ $value | humanizeDuration }}, and nothing mends it",
    ),
    Alert(
        "SpareRoomUsedUp",
        "ticket",
        "plant",
        "max(millwright_spare_hosts_kept) < max(millwright_spare_hosts_wanted)",
        "room for lost hosts is used up: it is there for {{ $value }}",
        900,
    ),
    Alert(
        "MovesFail",
        "ticket",
        "plant",
        "max(millwright_moves_failed) > 2",
        "{{ $value }} moves of the balancer failed in the last day",
    ),
    Alert(
        "Watchdog",
        "none",
        "plant",
        "vector(1)",
        "always firing: when it stops, alerts no longer arrive",
    ),
)


#: Prometheus cannot say that it is gone: the orchestrator tells Alertmanager.
PROMETHEUS_DOWN: dict[str, dict[str, str]] = {
    "labels": {"alertname": "PrometheusDown", "severity": "page", "scope": "plant"},
    "annotations": {
        "summary": "Prometheus does not answer: nothing is measured and no other alert can begin",
        "runbook": f"{RUNBOOKS}/PrometheusDown.md",
    },
}


def burn_alerts(objectives: Objectives) -> Iterator[Alert]:
    """One alert per indicator and condition: both windows above the factor."""
    for indicator in burning(objectives):
        names = [
            name
            for row in objectives.objectives
            if row.indicator == indicator
            for name in row.alerts
        ]
        for name in dict.fromkeys(names):
            condition = objectives.condition(name)
            series = f"slo:{short(indicator)}"
            long, brief = duration(condition.long_s), duration(condition.short_s)
            expr = (
                f"{series}:burn{long} > {condition.factor:g}\n"
                f"and {series}:burn{brief} > {condition.factor:g}"
            )
            plant = indicator is Indicator.PORTAL_AVAILABILITY
            if not plant:
                least = max(
                    row.minimum_events
                    for row in objectives.objectives
                    if row.indicator == indicator
                )
                expr += f"\nand on (environment) {series}_all:rate{long} * {condition.long_s} >= {least}"
            what = "{{ $labels.endpoint }}" if plant else "{{ $labels.environment }}"
            yield Alert(
                _title(indicator) + _title(name),
                condition.severity,
                "plant" if plant else "environment",
                expr,
                f"{what} spends its budget of {str(indicator).replace('-', ' ')} {{{{ $value | humanize }}}} times too fast",
                condition.after_s,
            )


def _title(words: str) -> str:
    return "".join(word.capitalize() for word in words.split("-"))


def seldom_alerts(objectives: Objectives) -> Iterator[Alert]:
    """Provisioning and recovery, per level, over thirty days."""
    for indicator, alert, what in (
        (Indicator.PROVISIONING_TIME, "ProvisioningSlow", "environments answer in time"),
        (Indicator.RECOVERY_TIME, "RecoverySlow", "machines are back in time"),
    ):
        name = short(indicator)
        for row in objectives.objectives:
            if row.indicator == indicator:
                at = f'{{level="{row.level}"}}'
                yield Alert(
                    alert,
                    "ticket",
                    "plant",
                    f"slo:{name}_good:increase30d{at} / slo:{name}_all:increase30d{at} < {row.target:g}",
                    f"{{{{ $value | humanizePercentage }}}} of {row.level} {what}, promised {row.target:.0%}",
                )


def all_alerts(objectives: Objectives) -> tuple[Alert, ...]:
    """Every alert."""
    return (*ALERTS, *burn_alerts(objectives), *seldom_alerts(objectives))


def groups(objectives: Objectives) -> tuple[Group, ...]:
    """Fast alerts at each evaluation, those over thirty days hourly."""
    fast = (*ALERTS, *burn_alerts(objectives))
    return (
        Group("alerts", fast),
        Group("alerts-hourly", tuple(seldom_alerts(objectives)), HOUR_S),
    )
