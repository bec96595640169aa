"""By which way a migration's data goes, and that none of them leads over the network in the open."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import libvirt
import pytest
from millwright.hypervisor import MigrationSpec, Way
from millwright.hypervisor.driver import HostAddress, passages
from millwright.pki import Authority, write_client
from millwright.relay import Passage, RelayError

SHARED = MigrationSpec(copy_storage=False)


def host(number: int, pki: Path, scheme: str = "qemu+tls", data: str | None = None) -> HostAddress:
    uri = f"{scheme}://10.0.0.{number}/system?pkipath={pki}"
    return HostAddress(name=f"h{number}", uri=uri, data_host=data)


@pytest.fixture
def pki(tmp_path: Path) -> Iterator[Path]:
    authority = Authority(tmp_path / "ca")
    authority.ensure()
    yield write_client(authority, tmp_path / "client", "orchestrator")
    passages._silent.clear()


def opened(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def open_passage(*doors: Any, **how: Any) -> Any:
        calls.append({"doors": [door.host for door in doors], **how})
        assert all(door.context.verify_mode is ssl.CERT_REQUIRED for door in doors)
        return answer()

    monkeypatch.setattr(passages, "open_passage", open_passage)
    return calls


def test_relays_take_memory_and_disks_to_the_loopback_of_both_hosts(
    pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = opened(monkeypatch, lambda: Passage((49220, 49230), ()))
    passage = passages.passage_between(
        host(1, pki), host(2, pki, data="10.1.0.2"), MigrationSpec()
    ).result(20)
    assert (calls[0]["doors"], calls[0]["data_host"]) == (["10.0.0.1", "10.0.0.2"], "10.1.0.2")
    assert calls[0]["count"] == 2
    parameters: dict[str, Any] = {}
    # QEMU sends in the open, and no further than to this host's relay.
    assert passages.ways(passage, parameters, "tcp://10.1.0.2", tls=True) == 0
    assert parameters == {
        libvirt.VIR_MIGRATE_PARAM_URI: "tcp://127.0.0.1:49220",
        libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: "127.0.0.1",
        libvirt.VIR_MIGRATE_PARAM_DISKS_PORT: 49230,
    }


def test_who_encrypted_it_is_told() -> None:
    assert passages.way_of(Passage((49220,), ()), tls=True) is Way.RELAYS
    assert passages.way_of(None, tls=True) is Way.QEMU
    assert passages.way_of(None, tls=False) is Way.OPEN


def test_shared_disks_want_no_passage_of_their_own(
    pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = opened(monkeypatch, lambda: Passage((49220,), ()))
    passage = passages.passage_between(host(1, pki), host(2, pki), SHARED).result(20)
    assert calls[0]["count"] == 1
    parameters: dict[str, Any] = {}
    passages.ways(passage, parameters, None, tls=True)
    assert libvirt.VIR_MIGRATE_PARAM_DISKS_PORT not in parameters


def test_without_a_relay_qemu_encrypts(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Passage:
        raise RelayError("refused")

    calls = opened(monkeypatch, none)
    for number in (1, 2):
        assert passages.passage_between(host(1, pki), host(2, pki), SHARED).result(20) is None
        assert len(calls) == number


def test_a_relay_that_is_silent_is_left_alone_for_a_while(
    pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    clock = Mock(monotonic=lambda: now[0])
    monkeypatch.setattr(passages, "time", clock)

    def silent() -> Passage:
        now[0] += passages.ANSWER_S
        raise RelayError("timed out")

    calls = opened(monkeypatch, silent)

    def ask() -> None:
        assert passages.passage_between(host(1, pki), host(2, pki), SHARED).result(20) is None

    ask()
    ask()
    assert len(calls) == 1
    now[0] += passages.SILENT_S + 1
    ask()
    assert len(calls) == 2


@pytest.mark.parametrize("scheme", ["qemu", "test", "qemu+ssh"])
def test_hosts_that_are_not_reached_by_tls_are_not_asked(
    pki: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    calls = opened(monkeypatch, lambda: Passage((49220,), ()))
    asked = passages.passage_between(host(1, pki), host(2, pki, scheme), SHARED)
    assert asked.result(20) is None
    assert calls == []


def test_a_passage_is_left_at_the_end_however_late_it_came(
    pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passage = Mock(spec=Passage)
    opened(monkeypatch, lambda: passage)
    asked = passages.passage_between(host(1, pki), host(2, pki), SHARED)
    asked.result(20)
    asked.add_done_callback(passages.leave)
    passage.close.assert_called_once_with()
