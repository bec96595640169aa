"""Recording rules: the live indicator.

Shapes that were tried with promtool: the objective's series is the population, so an environment without any data
still has a row; what is not eligible (out of service hours, approved maintenance) yields no sample, so that an
average over time is over eligible samples alone; missing data counts as down after a grace and is shown apart.

Long windows are built of short ones: a rule over three days of raw samples of 2,000 environments would take longer
than its interval. `tests/bench/rules.py` measures it.
"""

from __future__ import annotations

from monitoring.objectives import Indicator, Objectives

from .build import Group, Rule, duration

#: Data may be missing this long before it counts as down; also bridges a restart of what shows it.
GRACE_S = 60

#: The orchestrator's own words, or its last ones while none is active.
_LAST_KNOWN = "1h"

#: Fewer eligible samples than this say nothing: just after maintenance, one sample would be a whole window.
MINIMUM_SAMPLES = 4

#: Interval of the middle and slow groups, seconds.
MINUTE_S, SLOW_S, HOUR_S = 30, 300, 3600

#: Burn windows up to this are averages of the 5 minutes' rates, longer ones of what the slow group records.
_FINE_S = 3600


def _kept(labels: str, metric: str) -> str:
    absent = "((max(millwright_orchestrator_active) or vector(0)) == 0)"
    return (
        f"max by ({labels}) ({metric})\n"
        f"or\n(max by ({labels}) (last_over_time({metric}[{_LAST_KNOWN}])) and on () {absent})"
    )


def live(objectives: Objectives) -> Group:
    """Each environment now: what is promised, whether it counts, whether it is up."""
    who = "environment, project, level, objective"
    checks = (
        f"last_over_time(millwright_machine_up[{GRACE_S}s])\n"
        f"or last_over_time(millwright_probe_success[{GRACE_S}s])"
    )
    population = 'max by (environment) (slo:objective:ratio{objective="availability"})'
    return Group(
        "slo-live",
        (
            Rule("slo:objective:ratio", _kept(who, "millwright_objective_ratio")),
            Rule("slo:objective:limit", _kept(who, "millwright_objective_limit")),
            Rule("slo:eligible:bool", _kept("environment", "millwright_environment_eligible")),
            Rule("slo:checks:count", _kept("environment", "millwright_environment_checks")),
            Rule(
                "slo:environment_host:info",
                "max by (environment, host) (millwright_environment_info)\n"
                "or on (environment) topk by (environment)"
                f" (1, max by (environment, host) (last_over_time(millwright_environment_info[{_LAST_KNOWN}])))",
            ),
            Rule(
                "slo:environment_up:bool",
                f"(sum by (environment) (\n{checks}\n) >= bool on (environment) slo:checks:count)\n"
                f"or on (environment) (0 * {population})",
            ),
            Rule(
                "slo:environment_missing:bool",
                f"(count by (environment) (\n{checks}\n) < bool on (environment) slo:checks:count)\n"
                f"or on (environment) (1 + 0 * {population})",
            ),
            # No sample while it does not count: averages over time are then over eligible time.
            Rule(
                "slo:availability_bad:bool",
                "(1 - slo:environment_up:bool) and on (environment) (slo:eligible:bool == 1)",
            ),
            Rule("slo:portal_up:bool", _portal()),
            Rule("slo:portal_objective:ratio", _portal_objective(objectives)),
            Rule("slo:run_queue_wait:ratio", _run_queue()),
            Rule("slo:device_link:ratio", objectives.sli(Indicator.DEVICE_LINK).raw),
            Rule(
                "slo:cycle_streak:max",
                "max by (environment) (floor((vplc_scan_longest_seconds + vplc_start_lateness_longest_seconds)"
                " / vplc_task_interval_seconds))",
            ),
        ),
    )


def _portal() -> str:
    # Without the gateway nobody looks from outside: missing data is down here too.
    return (
        f"min by (endpoint) (last_over_time(millwright_portal_probe_success[{GRACE_S}s]))\n"
        'or on (endpoint) (0 * label_replace(vector(1), "endpoint", "portal", "", ""))\n'
        'or on (endpoint) (0 * label_replace(vector(1), "endpoint", "api", "", ""))'
    )


def _portal_objective(objectives: Objectives) -> str:
    # As a person promised it; as shipped while nobody tells.
    goal = next(
        row for row in objectives.objectives if row.indicator is Indicator.PORTAL_AVAILABILITY
    )
    told = "max(last_over_time(millwright_portal_objective_ratio[1h]))"
    return f"{told}\nor vector({goal.target:.6g})"


def _run_queue() -> str:
    return (
        "max by (environment) (\n"
        "rate(millwright_domain_vcpu_wait_seconds_total[1m])\n"
        "* on (domain, vcpu) group_left (environment)\n"
        "max by (domain, vcpu, environment) (millwright_pinned_vcpu_info)\n)"
    )


def burning(objectives: Objectives) -> tuple[Indicator, ...]:
    """Indicators whose budget's speed is watched: those with an alert policy."""
    return tuple(
        indicator
        for indicator in Indicator
        if any(row.alerts for row in objectives.objectives if row.indicator == indicator)
    )


def windows(objectives: Objectives, indicator: Indicator) -> tuple[int, ...]:
    """Every window, in seconds, that the indicator's alerts look at."""
    names = {
        name for row in objectives.objectives if row.indicator == indicator for name in row.alerts
    }
    found = set()
    for name in names:
        condition = objectives.condition(name)
        found |= {condition.short_s, condition.long_s}
    return tuple(sorted(found))


def short(indicator: Indicator) -> str:
    """The indicator in names of series: cycle-deadline → cycle_deadline."""
    return str(indicator).replace("-", "_")


def _key(indicator: Indicator) -> str:
    return "endpoint" if indicator is Indicator.PORTAL_AVAILABILITY else "environment"


def _rates(objectives: Objectives, indicator: Indicator) -> tuple[Rule, ...]:
    """Bad and all of five minutes; what does not count leaves no sample. A ratio is bad of one."""
    name, sli = short(indicator), objectives.sli(indicator)
    if sli.raw:
        # What is recorded is looked at as it is; anything else at the rate of the live group.
        recorded = sli.raw.replace(":", "").replace("_", "").isalnum()
        counted = f"{sli.raw}[5m]" if recorded else f"({sli.raw})[5m:15s]"
        return (Rule(f"slo:{name}_bad:rate5m", f"1 - avg_over_time({counted})"),)
    eligible = "and on (environment) (slo:eligible:bool == 1)"
    bad = sli.bad.replace("$window", "5m")
    total = sli.total.replace("$window", "5m")
    return (
        Rule(f"slo:{name}_bad:rate5m", f"({bad}) {eligible}"),
        Rule(f"slo:{name}_all:rate5m", f"({total}) {eligible}"),
    )


def _average(objectives: Objectives, indicator: Indicator, window_s: int) -> list[Rule]:
    name, text = short(indicator), duration(window_s)
    source = "5m" if window_s <= 6 * _FINE_S else "1h"
    return [
        Rule(
            f"slo:{name}_{part}:rate{text}",
            f"avg_over_time(slo:{name}_{part}:rate{source}[{text}])",
        )
        for part in (("bad",) if objectives.sli(indicator).raw else ("bad", "all"))
    ]


def _burn(objectives: Objectives, indicator: Indicator, window_s: int) -> Rule:
    """How many times faster than evenly the budget is spent."""
    name, text = short(indicator), duration(window_s)
    ratio = f"slo:{name}_bad:rate{text}"
    if not objectives.sli(indicator).raw:
        ratio = f"({ratio} / slo:{name}_all:rate{text})"
    if indicator is Indicator.PORTAL_AVAILABILITY:
        budget = "(1 - slo:portal_objective:ratio)"
        return Rule(f"slo:{name}:burn{text}", f"{ratio}\n/ on () group_left ()\n{budget}")
    return Rule(
        f"slo:{name}:burn{text}",
        f'{ratio}\n/ on (environment) group_right ()\n(1 - slo:objective:ratio{{objective="{indicator}"}})',
    )


def rates(objectives: Objectives) -> Group:
    """Short windows: five minutes from raw data, up to an hour from those."""
    rules: list[Rule] = []
    for indicator in burning(objectives):
        rules += _rates(objectives, indicator)
        for window_s in windows(objectives, indicator):
            if window_s > _FINE_S:
                continue
            if window_s != 300:
                rules += _average(objectives, indicator, window_s)
            rules.append(_burn(objectives, indicator, window_s))
    rules.append(
        Rule(
            "slo:availability:ratio_rate1h",
            "(1 - avg_over_time(slo:availability_bad:bool[1h]))\n"
            f"and (count_over_time(slo:availability_bad:bool[1h]) >= {MINIMUM_SAMPLES})",
        )
    )
    return Group("slo-rates", tuple(rules), MINUTE_S)


def slow(objectives: Objectives) -> Group:
    """Windows of hours and days, and the five minutes' sums that a month is made of."""
    rules: list[Rule] = []
    for indicator in burning(objectives):
        for window_s in windows(objectives, indicator):
            if window_s > _FINE_S:
                rules += _average(objectives, indicator, window_s)
                rules.append(_burn(objectives, indicator, window_s))
    rules += [
        Rule("slo:availability_bad:sum5m", "sum_over_time(slo:availability_bad:bool[5m])"),
        Rule("slo:availability_all:sum5m", "count_over_time(slo:availability_bad:bool[5m])"),
        Rule("slo:availability:ratio_rate1d", _availability("5m", "1d")),
        Rule("slo:device_link:avg1h", "avg_over_time(slo:device_link:ratio[1h])"),
    ]
    return Group("slo-slow", tuple(rules), SLOW_S)


def _availability(source: str, window: str) -> str:
    sums = [
        f"sum_over_time(slo:availability_{part}:sum{source}[{window}])" for part in ("bad", "all")
    ]
    return f"(1 - {sums[0]} / {sums[1]})\nand ({sums[1]} >= {MINIMUM_SAMPLES})"


def hourly(objectives: Objectives) -> Group:
    """Thirty days: availability, and what happens too seldom for less."""
    rules = [
        Rule("slo:availability_bad:sum1h", "sum_over_time(slo:availability_bad:sum5m[1h])"),
        Rule("slo:availability_all:sum1h", "sum_over_time(slo:availability_all:sum5m[1h])"),
        Rule("slo:availability:ratio_rate30d", _availability("1h", "30d")),
    ]
    for indicator in (Indicator.PROVISIONING_TIME, Indicator.RECOVERY_TIME):
        sli, name = objectives.sli(indicator), short(indicator)
        rules.append(Rule(f"slo:{name}_all:increase30d", sli.total.replace("$window", "30d")))
        rules.append(Rule(f"slo:{name}_good:increase30d", _within(objectives, indicator)))
    return Group("slo-hourly", tuple(rules), HOUR_S)


def _within(objectives: Objectives, indicator: Indicator) -> str:
    """Good events of every level, each by its own limit."""
    parts = []
    for row in objectives.objectives:
        if row.indicator == indicator and row.at_most is not None:
            query = objectives.sli(indicator).good.replace("$window", "30d")
            query = query.replace("$value", f"{row.at_most:.1f}")
            head, tail = query.split("{", 1)
            parts.append(f'{head}{{level="{row.level}", {tail}')
    return "\nor ".join(parts)


def groups(objectives: Objectives) -> tuple[Group, ...]:
    """All recording rules."""
    return live(objectives), rates(objectives), slow(objectives), hourly(objectives)
