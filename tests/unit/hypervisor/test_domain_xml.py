"""Domain XML: golden files, libvirt's schema, and what is read back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from millwright.hypervisor import ServiceClass, render_domain
from millwright.hypervisor.domain.parse import parse_files, parse_metadata, parse_pins

from tests.unit.hypervisor.specs import BASE, CASES, case

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(CASES))
def test_golden(name: str) -> None:
    """`MW_WRITE_GOLDEN=1` writes the files anew; review the difference."""
    rendered = render_domain(case(name))
    file = GOLDEN / f"{name}.xml"
    if os.environ.get("MW_WRITE_GOLDEN") == "1":
        file.write_text(rendered, encoding="utf-8")
    assert rendered == file.read_text(encoding="utf-8")


def test_there_is_a_case_for_every_golden_file() -> None:
    assert {file.stem for file in GOLDEN.glob("*.xml")} == set(CASES) | {"filter"}


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.xml")), ids=lambda file: file.stem)
def test_libvirt_s_schema_accepts_it(file: Path) -> None:
    if shutil.which("virt-xml-validate") is None or shutil.which("xmllint") is None:
        message = "virt-xml-validate (libvirt-clients) and xmllint (libxml2-utils) are needed"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    kind = "nwfilter" if file.stem == "filter" else "domain"
    done = subprocess.run(
        ["virt-xml-validate", str(file), kind], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rendering_is_deterministic() -> None:
    assert render_domain(BASE) == render_domain(BASE)


@pytest.mark.parametrize("name", sorted(CASES))
def test_nothing_is_passed_through_to_the_emulator(name: str) -> None:
    text = render_domain(case(name))
    assert "commandline" not in text
    assert "qemu/1.0" not in text


def test_the_mark_is_read_back() -> None:
    assert parse_metadata(render_domain(BASE)) == BASE.metadata


@pytest.mark.parametrize(
    "xml",
    [
        "<domain><name>x</name></domain>",
        "<domain><metadata/></domain>",
        '<domain><metadata><a:placement xmlns:a="urn:other" site="x"/></metadata></domain>',
        '<domain><metadata><a:placement xmlns:a="urn:millwright:1" site="x"/></metadata></domain>',
        '<placement site="s" environment="e" machine="m" operation="o" generation="new"/>',
    ],
)
def test_a_missing_or_damaged_mark_is_none(xml: str) -> None:
    assert parse_metadata(xml) is None


def test_only_control_vcpus_run_fifo() -> None:
    root = ET.fromstring(render_domain(case("realtime_full_host")))  # noqa: S314 - our own text
    (sched,) = root.iterfind("cputune/vcpusched")
    assert sched.attrib == {"vcpus": "1-2", "scheduler": "fifo", "priority": "1"}


def test_threads_of_the_emulator_stay_off_the_control_cores() -> None:
    pins = parse_pins(render_domain(case("realtime_full_host")), all_cpus=frozenset(range(8)))
    control = pins.vcpus[1] | pins.vcpus[2]
    assert not control & pins.emulator
    assert all(not control & cpus for cpus in pins.iothreads.values())


def test_unpinned_threads_may_run_anywhere() -> None:
    everything = frozenset(range(4))
    pins = parse_pins(render_domain(case("shared_emulated_bare")), all_cpus=everything)
    assert pins.vcpus == {0: everything}
    assert pins.emulator == everything
    assert pins.iothreads == {}


def test_files_in_use_are_found() -> None:
    assert parse_files(render_domain(BASE)) == {
        BASE.boot.kernel,
        BASE.boot.initrd,
        BASE.disks[0].path,
    }


@pytest.mark.parametrize("name", sorted(CASES))
def test_realtime_has_neither_balloon_nor_merged_pages(name: str) -> None:
    root = ET.fromstring(render_domain(case(name)))  # noqa: S314 - our own text
    balloon = root.find("devices/memballoon")
    assert balloon is not None
    realtime = case(name).service_class is ServiceClass.REALTIME
    assert (balloon.get("model") == "none") is realtime
    assert (root.find("memoryBacking/nosharepages") is not None) is realtime
