"""Every metric that Millwright's processes and vPLCs show, in one place.

A test holds this list against what the processes really export; the documentation's table comes from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """Name as exported (counters with `_total`), labels beside job and instance, who shows it."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    shown_by: str
    help: str


def _agent(name: str, kind: Kind, labels: str, help_text: str) -> Metric:
    return Metric(f"millwright_{name}", kind, tuple(labels.split()), "agent", help_text)


def _gateway(name: str, kind: Kind, labels: str, help_text: str) -> Metric:
    return Metric(f"millwright_gateway_{name}", kind, tuple(labels.split()), "gateway", help_text)


def _vplc(name: str, kind: Kind, labels: str, help_text: str) -> Metric:
    return Metric(f"vplc_{name}", kind, tuple(labels.split()), "vplc", help_text)


def _orchestrator(name: str, labels: str, help_text: str, kind: Kind = "gauge") -> Metric:
    return Metric(f"millwright_{name}", kind, tuple(labels.split()), "orchestrator", help_text)


METRICS: tuple[Metric, ...] = (
    _agent("libvirt_up", "gauge", "", "1 if libvirt answered the last question"),
    _agent(
        "libvirt_hang_seconds",
        "gauge",
        "",
        "How long a question to libvirt has been stuck; 0: none is",
    ),
    _agent("libvirt_call_seconds", "gauge", "", "How long the last statistics call took"),
    _agent("domain_info", "gauge", "domain uuid", "1 for each domain that libvirt knows"),
    _agent("domain_state", "gauge", "domain state", "1 for the state that the domain is in"),
    _agent(
        "domain_cpu_seconds_total", "counter", "domain", "CPU time of the guest and its emulator"
    ),
    _agent("domain_vcpus", "gauge", "domain", "vCPUs in use"),
    _agent("domain_vcpu_seconds_total", "counter", "domain vcpu", "CPU time of the vCPU"),
    _agent(
        "domain_vcpu_wait_seconds_total",
        "counter",
        "domain vcpu",
        "Time the vCPU's thread waited on the run queue",
    ),
    _agent(
        "domain_memory_bytes",
        "gauge",
        "domain kind",
        "Memory: actual (given), maximum, rss (taken from the host)",
    ),
    _agent(
        "domain_block_bytes_total", "counter", "domain device direction", "Bytes read and written"
    ),
    _agent(
        "domain_net_bytes_total", "counter", "domain device direction", "Bytes received and sent"
    ),
    _agent("migrations_leaving", "gauge", "", "Migrations under way that leave this host"),
    _agent(
        "domain_jobs_unanswered",
        "gauge",
        "",
        "Domains that keep a question for their job: their monitor hangs",
    ),
    _agent(
        "domain_migration_seconds",
        "gauge",
        "domain",
        "How long the domain's migration from this host has been under way",
    ),
    _agent(
        "domain_migration_bytes",
        "gauge",
        "domain kind",
        "Bytes of the migration: total, processed, remaining; they grow as memory changes",
    ),
    _agent("storage_pool_active", "gauge", "pool", "1 if the storage pool is active"),
    _agent(
        "storage_pool_bytes", "gauge", "pool kind", "Size of an active pool: capacity, available"
    ),
    _agent(
        "host_isolated_interrupts_total",
        "counter",
        "cpu",
        "Interrupts of devices on an isolated CPU, where none should come",
    ),
    _agent(
        "host_smis_total",
        "counter",
        "",
        "System management interrupts; absent where the register is not readable",
    ),
    _agent(
        "host_tuned_verified",
        "gauge",
        "",
        "1 if tuned found the host as its realtime profile wants it; absent where never asked",
    ),
    _agent(
        "host_timer_lateness_seconds",
        "gauge",
        "kind",
        "Lateness of 20 sleeps of 1 ms at the scrape, on a CPU that is not isolated: mean, worst",
    ),
    _agent("host_realtime_kernel", "gauge", "", "1 if the host's kernel is PREEMPT_RT"),
    _agent("host_isolated_cpus", "gauge", "", "CPUs that the scheduler leaves alone (isolcpus)"),
    _agent("host_nohz_full_cpus", "gauge", "", "CPUs without a tick while one task runs"),
    _agent(
        "host_rt_runtime_ratio",
        "gauge",
        "",
        "Share of time that realtime threads may take; -1: unlimited",
    ),
    _agent("host_hugepages", "gauge", "size_bytes state", "Huge pages: total and free"),
    _agent(
        "host_cpu_steal_seconds_total", "counter", "cpu", "Time that the machine below took away"
    ),
    _agent("host_info", "gauge", "kernel", "1, with the kernel's release"),
    _gateway("requests_total", "counter", "endpoint status", "Requests answered"),
    _gateway("request_seconds", "histogram", "endpoint", "Time to answer"),
    _gateway("watched_machines", "gauge", "", "Machines whose tags are being polled"),
    Metric(
        "millwright_tag",
        "gauge",
        ("environment", "machine", "tag"),
        "gateway",
        "A recorded tag's value; switches are 0 and 1",
    ),
    Metric(
        "millwright_probe_success",
        "gauge",
        ("environment", "machine", "kind"),
        "gateway",
        "1 if the machine's protocol answered the last probe from outside",
    ),
    Metric(
        "millwright_probe_seconds",
        "gauge",
        ("environment", "machine", "kind"),
        "gateway",
        "How long the last probe took",
    ),
    _orchestrator(
        "objective_ratio",
        "environment project level objective",
        "Share that must be good, as promised now",
    ),
    _orchestrator(
        "portal_objective_ratio",
        "",
        "Share of time in which portal and API must answer, as promised now",
    ),
    _orchestrator(
        "objective_limit",
        "environment project level objective",
        "Limit in the objective's unit; for cycles the longest streak missed",
    ),
    _orchestrator(
        "environment_eligible",
        "environment",
        "1 in promised hours and outside of approved maintenance",
    ),
    _orchestrator(
        "environment_checks",
        "environment",
        "Checks that must succeed for the environment to be up",
    ),
    _orchestrator(
        "environment_info", "environment host", "1; host: the one host of all its machines"
    ),
    _orchestrator(
        "machine_up",
        "environment machine",
        "1 if a machine without a protocol was last seen running",
    ),
    _orchestrator(
        "pinned_vcpu_info", "domain vcpu environment", "1 for each vCPU with a core of its own"
    ),
    _orchestrator(
        "host_up", "host", "1 if the host's libvirt answers; none for a host that sleeps"
    ),
    _orchestrator("host_power", "host power", "1 for the host's state of power"),
    _orchestrator(
        "host_asleep_seconds_total", "host", "How long the host has slept by intent", "counter"
    ),
    _orchestrator(
        "host_not_waking_seconds",
        "host",
        "How long a host that was to be woken has not woken, since the first try",
    ),
    _orchestrator(
        "host_emptying_machines", "host", "Machines still on a host that is emptied to sleep"
    ),
    _orchestrator("portal_probe_success", "endpoint", "1 if it answered the last probe"),
    _orchestrator("portal_probe_seconds", "endpoint", "How long the last probe took"),
    _orchestrator(
        "provisioning_seconds", "level", "From approval to an environment that answers", "histogram"
    ),
    _orchestrator(
        "recovery_seconds", "level", "From a host's silence to a machine that is up", "histogram"
    ),
    _orchestrator(
        "reconciliation_unexplained_seconds",
        "environment",
        "By how much ledger and Prometheus differ beyond what sampling explains, last hour compared",
    ),
    _orchestrator(
        "reconciliation_uncompared_seconds",
        "environment",
        "Time of the last hour compared of which Prometheus has no samples",
    ),
    _orchestrator(
        "reconciliation_timestamp_seconds", "", "When the last comparison of the ledgers ended"
    ),
    _orchestrator(
        "retained_copy_failing",
        "environment machine",
        "1 for each controller whose retained values could not be copied when it was asked last",
    ),
    _orchestrator(
        "recommendations_waiting",
        "",
        "Moves that the balancer recommends and nobody has decided yet; moves of one plan are one",
    ),
    _orchestrator(
        "recommendation_oldest_seconds", "", "How long the oldest of them has waited; 0: none does"
    ),
    _orchestrator(
        "moves_failed", "", "Moves that the balancer decided and that failed in the last day"
    ),
    _orchestrator(
        "drain_waiting_seconds",
        "host",
        "How long the host's drain, or the rolling drain that has come to it, has not gone on",
    ),
    _orchestrator(
        "rule_broken_seconds",
        "rule",
        "How long a hard rule has not been kept that no move under way mends",
    ),
    _orchestrator("spare_hosts_wanted", "", "Hosts that are to be able to die at once"),
    _orchestrator(
        "spare_hosts_kept",
        "",
        "How many of them may die at once now, with every protected machine restarted elsewhere",
    ),
    _orchestrator("orchestrator_active", "", "1 if this orchestrator holds the lock"),
    _orchestrator("environments", "state", "Environments by state"),
    _orchestrator("machines", "observed", "Machines by observed state"),
    _orchestrator(
        "hosts",
        "health",
        "Hosts by health; asleep: they sleep, or are on their way from it or to it",
    ),
    _orchestrator("operations_live", "state", "Operations queued or at work"),
    _orchestrator("drifts", "kind", "Differences between intent and hosts"),
    _vplc("up", "gauge", "", "1 if the scan process is there"),
    _vplc("clock_seconds", "gauge", "", "The machine's monotonic clock at this scrape"),
    _vplc("process_info", "gauge", "boot_id scan_pid", "1, with the boot and the scan process"),
    _vplc("heartbeat_age_seconds", "gauge", "", "Since the scan process last said that it lives"),
    _vplc("running", "gauge", "", "1 if the program runs"),
    _vplc("fifo", "gauge", "", "1 if tasks have FIFO priority"),
    _vplc("forced_variables", "gauge", "", "Variables that are forced"),
    _vplc("retain_age_seconds", "gauge", "", "Since retained values were last saved; -1: never"),
    _vplc("retain_failures_total", "counter", "", "Saves of retained values that failed"),
    _vplc(
        "clock_trusted", "gauge", "", "1 if the wall clock is synchronised and was not set lately"
    ),
    _vplc("clock_steps_total", "counter", "", "How often the wall clock was set"),
    _vplc("gaps_total", "counter", "", "How often the machine stood still"),
    _vplc("crashes", "gauge", "", "Starts before this one that did not last"),
    _vplc("standby", "gauge", "", "1 if devices are not written"),
    _vplc("fault", "gauge", "kind", "1 while a task stands still after this fault"),
    _vplc("faults_total", "counter", "kind", "Faults of tasks; watchdog: a scan took too long"),
    _vplc("info", "gauge", "program version sha256", "1, with the program that runs"),
    _vplc("task_interval_seconds", "gauge", "task", "A task's interval"),
    _vplc("scan_longest_seconds", "gauge", "task", "Longest scan so far"),
    _vplc("start_lateness_longest_seconds", "gauge", "task", "Latest start so far"),
    _vplc("scans_total", "counter", "task", "Scans done"),
    _vplc(
        "overruns_total",
        "counter",
        "task",
        "Cycles missed because a scan took too long or began too late",
    ),
    _vplc("scan_seconds", "histogram", "task", "Duration of a scan"),
    _vplc("start_lateness_seconds", "histogram", "task", "Start of a scan after its due time"),
    _vplc("device_good", "gauge", "device", "1 if the device answered its last read"),
    _vplc(
        "device_age_seconds", "gauge", "device", "Since the device last answered; -1: it never has"
    ),
    _vplc("device_reads_total", "counter", "device", "Exchanges with the device that went well"),
    _vplc("device_errors_total", "counter", "device", "Failed exchanges with the device"),
    _vplc("device_latency_seconds", "gauge", "device", "Duration of the last exchange"),
    _vplc("protocol_clients", "gauge", "protocol", "Open connections and sessions"),
    _vplc(
        "protocol_refused_total", "counter", "protocol", "Connections, sign-ins and writes refused"
    ),
    _vplc("modbus_connections", "gauge", "", "Open Modbus connections"),
    _vplc("modbus_requests_total", "counter", "", "Modbus requests"),
    _vplc("modbus_refused_total", "counter", "", "Modbus writes and connections refused"),
)

#: What Prometheus itself adds.
FOREIGN = frozenset({"up"})
