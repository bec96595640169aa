"""The agent's readings, its deadline, and that the metric list is the truth."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from millwright.gateway.metrics import Metrics
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from monitoring import METRICS
from monitoring.agent import HostCollector, HostFacts, LibvirtReader, read_facts
from monitoring.agent.hostfacts import count_cpus
from monitoring.agent.jobs import MOST_HANGING, JobReader, Migration, ask_job
from monitoring.agent.libvirt_reader import Domain, Pool

STATS = {
    "state.state": 1,
    "cpu.time": 2_500_000_000,
    "vcpu.current": 2,
    "vcpu.maximum": 2,
    "vcpu.0.time": 1_000_000_000,
    "vcpu.0.delay": 20_000_000,
    "vcpu.1.time": 500_000_000,
    "balloon.current": 524288,
    "balloon.rss": 700000,
    "block.count": 1,
    "block.0.name": "vda",
    "block.0.rd.bytes": 4096,
    "block.0.wr.bytes": 512,
    "net.count": 1,
    "net.0.name": "vnet0",
    "net.0.rx.bytes": 10,
    "net.0.tx.bytes": 20,
}
FACTS = HostFacts(
    "6.1.0-rt", True, 1, 0, 0.95, {2097152: (4, 1)}, {0: 1.5}, {1: 7}, 3, True, (0.0001, 0.002)
)


def _samples(
    reader: LibvirtReader, facts: HostFacts = FACTS, settled: Any = None
) -> dict[tuple[str, str], float]:
    registry = CollectorRegistry()
    jobs = JobReader(after_s=0)
    registry.register(HostCollector(reader, facts=lambda: facts, jobs=jobs, deadline_s=0.2))
    if settled is not None:
        # The first scrape begins to ask for jobs; whatever it shows, the next one has the answers.
        generate_latest(registry)
        settled(jobs)
    return {
        (sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


class MigratingDomain:
    """libvirt's domain, on its way to another host."""

    def jobStats(self) -> dict[str, int]:
        return {
            "type": 2,
            "operation": 5,
            "time_elapsed": 1500,
            "data_total": 4000,
            "data_processed": 3000,
            "data_remaining": 1000,
        }


def _reader(ask: Any = None, opener: Any = None) -> LibvirtReader:
    return LibvirtReader(
        "test:///x",
        opener=opener or (lambda _uri: object()),
        ask=ask or (lambda _c: (Domain("mw-a-plc", "u-1", STATS, MigratingDomain()),)),
        ask_pools=lambda _c: (Pool("mw", True, 1000, 400), Pool("old", False)),
    )


def test_a_domain_becomes_samples_in_base_units() -> None:
    found = _samples(_reader())
    assert found["millwright_libvirt_up", ""] == 1
    assert found["millwright_libvirt_hang_seconds", ""] == 0
    assert found["millwright_domain_state", "domain=mw-a-plc,state=running"] == 1
    assert found["millwright_domain_cpu_seconds_total", "domain=mw-a-plc"] == 2.5
    assert found["millwright_domain_vcpu_wait_seconds_total", "domain=mw-a-plc,vcpu=0"] == 0.02
    assert ("millwright_domain_vcpu_wait_seconds_total", "domain=mw-a-plc,vcpu=1") not in found
    assert found["millwright_domain_memory_bytes", "domain=mw-a-plc,kind=actual"] == 512 * 2**20
    assert (
        found["millwright_domain_block_bytes_total", "device=vda,direction=read,domain=mw-a-plc"]
        == 4096
    )
    assert found["millwright_host_hugepages", "size_bytes=2097152,state=free"] == 1
    assert found["millwright_host_cpu_steal_seconds_total", "cpu=0"] == 1.5
    assert found["millwright_storage_pool_bytes", "kind=available,pool=mw"] == 400
    assert found["millwright_storage_pool_active", "pool=old"] == 0
    assert ("millwright_storage_pool_bytes", "kind=capacity,pool=old") not in found
    assert found["millwright_host_isolated_interrupts_total", "cpu=1"] == 7
    assert found["millwright_host_timer_lateness_seconds", "kind=worst"] == 0.002


def _until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_migration_is_shown_with_its_bytes_and_time() -> None:
    domain = Domain("mw-a-plc", "u-1", STATS, MigratingDomain())
    found = _samples(_reader(), settled=lambda jobs: _until(lambda: jobs.look([domain]).migrations))
    assert found["millwright_migrations_leaving", ""] == 1
    assert found["millwright_domain_migration_seconds", "domain=mw-a-plc"] == 1.5
    sizes = [
        found["millwright_domain_migration_bytes", f"domain=mw-a-plc,kind={kind}"]
        for kind in ("total", "processed", "remaining")
    ]
    assert sizes == [4000, 3000, 1000]


def test_no_job_another_job_and_a_refusal_are_no_migration() -> None:
    import libvirt

    class Other:
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def jobStats(self) -> Any:
            if self.answer is None:
                raise libvirt.libvirtError("only available on the source host")
            return self.answer

    for answer in ({"type": 0}, {"type": 2, "operation": 2}, None):
        assert ask_job(Domain("mw-a", "u", STATS, Other(answer))) is None


def test_a_domain_that_keeps_a_question_holds_nobody_else_up() -> None:
    released, asked = threading.Event(), []

    def ask(domain: Domain) -> Migration | None:
        asked.append(domain.name)
        if domain.name == "hung":
            released.wait(60)
        return Migration(domain.name, 1.0, 3, 2, 1) if domain.name == "moving" else None

    jobs = JobReader(ask=ask, patience_s=0.05, after_s=0)
    domains = [Domain(name, name, STATS, object()) for name in ("hung", "calm", "moving")]
    domains.append(Domain("off", "off", {"state.state": 5}, object()))
    _until(lambda: jobs.look(domains).migrations)
    found = jobs.look(domains)
    assert ([row.domain for row in found.migrations], found.unanswered) == (["moving"], 1)
    # It is not asked again while it keeps the first question; the others are.
    before = asked.count("moving")
    _until(lambda: jobs.look(domains) and asked.count("moving") > before + 3)
    assert (asked.count("hung"), asked.count("off")) == (1, 0)
    released.set()
    _until(lambda: jobs.look(domains).unanswered == 0 and asked.count("hung") > 1)


def test_with_many_hanging_domains_no_more_questions_go_out() -> None:
    released, asked = threading.Event(), []

    def ask(domain: Domain) -> None:
        asked.append(domain.name)
        released.wait(60)

    jobs = JobReader(ask=ask, patience_s=0.02, after_s=0)
    domains = [Domain(f"d{number}", f"u{number}", STATS, object()) for number in range(9)]
    _until(lambda: jobs.look(domains).unanswered == MOST_HANGING)
    for _ in range(20):
        assert jobs.look(domains).unanswered == MOST_HANGING
    assert asked == [f"d{number}" for number in range(MOST_HANGING)]
    released.set()
    _until(lambda: jobs.look(domains).unanswered == 0)


def test_a_hanging_libvirt_is_a_metric_and_only_one_question_is_out() -> None:
    release, asked = threading.Event(), []

    def hang(_connection: Any) -> tuple[Domain, ...]:
        asked.append(1)
        release.wait(60)
        return ()

    reader = _reader(ask=hang)
    for _ in range(3):
        found = _samples(reader)
        assert found["millwright_libvirt_up", ""] == 0
        assert found["millwright_libvirt_hang_seconds", ""] >= 0.2
        assert found["millwright_host_realtime_kernel", ""] == 1, (
            "the host's facts are shown all the same"
        )
    assert asked == [1]
    release.set()
    assert reader.read(60).up


def test_a_broken_connection_is_opened_again() -> None:
    opened: list[str] = []
    answers: list[Any] = [OSError("gone"), ()]

    def ask(_connection: Any) -> tuple[Domain, ...]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return tuple(answer)

    reader = _reader(ask=ask, opener=lambda uri: opened.append(uri))
    failed = reader.read(60)
    assert (failed.up, failed.error) == (False, "OSError: gone")
    assert reader.read(60).up
    assert opened == ["test:///x", "test:///x"]


def test_libvirts_own_test_driver_answers_the_bulk_call() -> None:
    pytest.importorskip("libvirt")
    reading = LibvirtReader("test:///default").read(60)
    # The test driver has no bulk statistics: the agent must say so and live.
    assert reading.up or "not supported" in reading.error
    assert reading.hang_s == 0


def test_facts_come_from_the_kernels_files(tmp_path: Path) -> None:
    files = {
        "sys/kernel/realtime": "1\n",
        "sys/devices/system/cpu/isolated": "2-3,7\n",
        "sys/devices/system/cpu/nohz_full": "(null)\n",
        "proc/sys/kernel/sched_rt_runtime_us": "950000",
        "proc/sys/kernel/sched_rt_period_us": "1000000",
        "proc/sys/kernel/osrelease": "6.1.0-1-rt-amd64",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "8",
        "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "3",
        "proc/interrupts": "      CPU0 CPU2 CPU3\n  1:  5  6  7  chip\nLOC: 900 900 900 local timer\n 24:  1  2  0 virtio\n",
        "run/millwright-tuned/verified": "0\n",
        "proc/stat": "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 200 0 0\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    facts = read_facts(tmp_path)
    assert facts.realtime_kernel is True
    assert (facts.isolated_cpus, facts.nohz_full_cpus) == (3, 0)
    assert facts.rt_runtime_ratio == 0.95
    assert facts.hugepages == {2048 * 1024: (8, 3)}
    assert list(facts.steal_s) == [0]
    # Isolated are 2, 3 and 7, of which 7 is off; the timer's own interrupts are not a device's.
    assert facts.isolated_interrupts == {2: 8, 3: 7}
    assert facts.tuned_verified is False
    assert facts.smis is None
    assert facts.steal_s[0] > 0


def test_what_the_kernel_does_not_say_is_left_out(tmp_path: Path) -> None:
    facts = read_facts(tmp_path)
    assert facts == HostFacts()
    found = _samples(_reader(), facts)
    assert ("millwright_host_realtime_kernel", "") not in found


def test_the_timer_of_this_machine_is_sampled() -> None:
    facts = read_facts()
    assert facts.timer_lateness_s is not None
    mean, worst = facts.timer_lateness_s
    assert 0 <= mean <= worst


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("3", 1), ("0-3,8", 5), ("x", None), (None, None)]
)
def test_cpu_lists_are_counted(text: str | None, count: int | None) -> None:
    assert count_cpus(text) == count


def test_every_metric_of_the_agent_is_shown_and_every_shown_one_is_listed() -> None:
    full = {**STATS, "vcpu.1.delay": 1, "balloon.maximum": 1}
    domain = Domain("d", "u", full, MigratingDomain())
    shown = {
        name
        for name, _ in _samples(
            _reader(ask=lambda _c: (domain,)),
            settled=lambda jobs: _until(lambda: jobs.look([domain]).migrations),
        )
    }
    assert shown == {metric.name for metric in METRICS if metric.shown_by == "agent"}


def test_every_metric_of_the_gateway_is_listed() -> None:
    metrics = Metrics()
    metrics.answered("/v1/health", 200, 0.1)
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    shown = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("millwright_")
    }
    shown = {name for name in shown if not name.endswith("_created")}
    assert shown == {metric.name for metric in METRICS if metric.shown_by == "gateway"}


def test_the_list_has_each_name_once() -> None:
    names = [metric.name for metric in METRICS]
    assert sorted(set(names)) == sorted(names)
    assert all(
        name.endswith("_total") == (m.kind == "counter")
        for name, m in zip(names, METRICS, strict=True)
    )
