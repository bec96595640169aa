"""OPC UA as clients meet it: who gets in, who may write what, ranges, methods, events; a clone's own key."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography.x509.oid import ExtendedKeyUsageOID

from industrial.opcua import TagServer
from industrial.package import pack
from industrial.runtime import shm as twin
from industrial.runtime.delivery import announce, answer_to
from industrial.runtime.local import LocalController
from industrial.runtime.protocols import Ports
from industrial.runtime.shm import SharedMemory
from industrial.security import (
    OpcUaPolicy,
    PolicyError,
    TrustStore,
    ensure_identity,
    fingerprint_of,
    hash_password,
)

PASSWORD = "correct horse battery"
SOURCE = """PROGRAM Main
VAR CONSTANT k : INT := 3; END_VAR
VAR setpoint : INT := 7; gain : REAL := 1.5; text : STRING[20] := 'abc'; list : ARRAY[1..5] OF INT := [10, 20, 30, 40, 50]; END_VAR
VAR turns AT %QW0 : INT; seen AT %IW0 : INT; zero : INT; bad : BOOL; END_VAR
turns := turns + 1;
IF bad THEN turns := turns / zero; END_IF;
END_PROGRAM
"""
MANIFEST = 'format = 1\nname = "p"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _application(folder: Path, name: str) -> tuple[Path, Path, str]:
    """A client application's certificate, key and fingerprint."""
    certificate, key = folder / f"{name}.der", folder / f"{name}.pem"
    await setup_self_signed_certificate(
        key, certificate, f"urn:test:{name}", "localhost", [ExtendedKeyUsageOID.CLIENT_AUTH],
        {"countryName": "DE", "commonName": name},
    )  # fmt: skip
    return certificate, key, fingerprint_of(certificate.read_bytes())


class Site:
    """A controller that runs in this process's loop, and applications that know it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"opc.tcp://127.0.0.1:{port}/"
        self.applications: dict[str, tuple[Path, Path, str]] = {}

    @asynccontextmanager
    async def client(
        self, application: str = "scada", user: str = "", password: str = PASSWORD, *,
        mode: ua.MessageSecurityMode = ua.MessageSecurityMode.SignAndEncrypt, plain: bool = False,
        user_certificate: str = "",
    ) -> AsyncIterator[Client]:  # fmt: skip
        client = Client(self.url, timeout=20)
        if not plain:
            certificate, key, _ = self.applications[application]
            client.application_uri = f"urn:test:{application}"
            await client.set_security(
                SecurityPolicyBasic256Sha256, certificate=str(certificate), private_key=str(key), mode=mode,
            )  # fmt: skip
        if user:
            client.set_user(user)
            client.set_password(password)
        if user_certificate:
            certificate, key, _ = self.applications[user_certificate]
            await client.load_client_certificate(str(certificate))
            await client.load_private_key(str(key))
        async with client:
            yield client


def _with(
    tmp_path: Path, test: Callable[[Site, LocalController], Coroutine[Any, Any, None]], *, anonymous: str = "",
    source: str = SOURCE,
) -> None:  # fmt: skip
    async def main() -> None:
        port = _free_port()
        site = Site(tmp_path, port)
        for name in ("scada", "stranger", "olga"):
            site.applications[name] = await _application(tmp_path, name)
        project = tmp_path / "project"
        (project / "src").mkdir(parents=True)
        (project / "src/main.st").write_text(source)
        (project / "vplc.toml").write_text(MANIFEST)
        words = f"anonymous_read = {json.dumps(anonymous)}\n" if anonymous else ""
        (project / "security.toml").write_text(
            f"""[opcua]
{words}
[[opcua.user]]
name = "obs"
role = "observer"
password = "{hash_password(PASSWORD)}"
[[opcua.user]]
name = "ops"
role = "operator"
password = "{hash_password(PASSWORD)}"
[[opcua.user]]
name = "olga"
role = "engineer"
certificate = "{site.applications["olga"][2]}"
[[opcua.user]]
name = "eng"
role = "engineer"
password = "{hash_password(PASSWORD)}"
[[opcua.client]]
name = "scada"
fingerprint = "{site.applications["scada"][2]}"
[[opcua.write]]
role = "operator"
tags = ["Main.set*"]
"""
        )
        controller = LocalController(project, Ports("127.0.0.1", 0, port, 0))
        controller.deliver()
        listening = asyncio.Event()
        running = asyncio.create_task(controller.run(lambda _protocols: listening.set()))
        try:
            await asyncio.wait_for(listening.wait(), 60)
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                await asyncio.sleep(0.1)
            await asyncio.wait_for(test(site, controller), 180)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


async def _eventually(what: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    for _ in range(600):
        if await what():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen")


async def _refused(attempt: Any) -> type[Exception]:
    try:
        async with attempt:
            pass
    except (ua.UaError, ConnectionError, TimeoutError, OSError) as error:
        return type(error)
    raise AssertionError("it was let in")


def test_only_known_applications_and_users_get_in(tmp_path: Path) -> None:
    async def test(site: Site, controller: LocalController) -> None:
        for mode in (ua.MessageSecurityMode.Sign, ua.MessageSecurityMode.SignAndEncrypt):
            async with site.client(user="obs", mode=mode) as client:
                assert await client.get_node("ns=2;s=Main.setpoint").read_value() == 7
        assert (
            await _refused(site.client(user="obs", password="wrong password"))
            is ua.uaerrors.BadUserAccessDenied
        )
        assert await _refused(site.client(user="nobody")) is ua.uaerrors.BadUserAccessDenied
        await _refused(site.client())  # a trusted application without a user
        await _refused(site.client(plain=True))
        await _refused(site.client("stranger", user="obs"))
        # The stranger waits among the rejected until a person trusts it.
        store = TrustStore(controller.paths.state / "trust")
        stranger = site.applications["stranger"][2]
        assert [row["fingerprint"] for row in store.rows() if row["state"] == "rejected"] == [
            stranger
        ]
        store.trust(stranger)
        async with site.client("stranger", user="obs") as client:
            assert await client.get_node("ns=2;s=Main.k").read_value() == 3
        store.remove(stranger)
        await _refused(site.client("stranger", user="obs"))
        # Or until it brings a token, which is right once.
        token = store.make_token()
        await _refused(site.client("stranger", user="trust", password=token))
        async with site.client("stranger", user="obs"):
            pass
        store.remove(stranger)
        await _refused(site.client("stranger", user="trust", password=token))
        await _refused(site.client("stranger", user="obs"))

    _with(tmp_path, test)


def test_other_stations_users_and_applications_count_without_a_restart(tmp_path: Path) -> None:
    """What the portal delivers when a station is registered, and what a person changes by hand."""

    async def test(site: Site, controller: LocalController) -> None:
        before = (controller.paths.active / "security.toml").read_text()

        async def deliver(text: str) -> None:
            files = {"security.toml": text.encode()}
            bundle = pack("config", "p", "1", files, controller.key)
            number = announce(controller.paths, bundle)
            await asyncio.to_thread(answer_to, controller.paths, number)

        async def there(client: Client) -> bool:
            try:
                await client.get_node("ns=2;s=Main.setpoint").read_value()
            except (ua.UaError, ConnectionError, TimeoutError, OSError, asyncio.CancelledError):
                return False
            return True

        async def gone(client: Client) -> bool:
            return not await there(client)

        async with site.client(user="obs") as obs, site.client(user="ops") as ops:
            session = obs.session_timeout, obs.uaclient.protocol
            # A station of Modbus is none of OPC UA's business.
            station = f'{before}\n[[modbus.client]]\nname = "scada"\ncidr = "10.0.0.5/32"\n'
            await deliver(station)
            # An operator's tags count for a session that is open.
            gain = ops.get_node("ns=2;s=Main.gain")
            wanted = ua.DataValue(ua.Variant(3.5, ua.VariantType.Float))
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await gain.write_value(wanted)
            await deliver(station.replace("Main.set*", "Main.gain"))

            async def may() -> bool:
                try:
                    await gain.write_value(wanted)
                except ua.uaerrors.BadUserAccessDenied:
                    return False
                return True

            await _eventually(may)
            # An application more; then one user less, whose session ends and nobody else's.
            stranger = site.applications["stranger"][2]
            more = f'{station}[[opcua.client]]\nname = "other"\nfingerprint = "{stranger}"\n'
            await deliver(more)

            async def let_in() -> bool:
                try:
                    async with site.client("stranger", user="obs"):
                        return True
                except (ua.UaError, ConnectionError, TimeoutError, OSError):
                    return False

            await _eventually(let_in)
            await deliver(more.replace('"ops"', '"retired"'))
            await _eventually(lambda: gone(ops))
            assert await _refused(site.client(user="ops")) is ua.uaerrors.BadUserAccessDenied
            # Trust that a person withdraws ends what is open.
            await deliver(station)
            TrustStore(controller.paths.state / "trust").trust_certificate(
                site.applications["stranger"][0].read_bytes()
            )
            async with site.client("stranger", user="obs") as other:
                assert await there(other)
                TrustStore(controller.paths.state / "trust").remove(stranger)
                await _eventually(lambda: gone(other))
            # All the while nobody restarted anything.
            assert await there(obs)
            assert (obs.session_timeout, obs.uaclient.protocol) == session

    _with(tmp_path, test)


def test_roles_decide_what_is_written(tmp_path: Path) -> None:
    async def test(site: Site, controller: LocalController) -> None:
        async def write(user: str, path: str, value: Any, kind: ua.VariantType) -> str:
            async with site.client(user=user) as client:
                try:
                    await client.get_node(f"ns=2;s={path}").write_value(
                        ua.DataValue(ua.Variant(value, kind))
                    )
                except ua.UaStatusCodeError as error:
                    return type(error).__name__
                return "Good"

        int16 = ua.VariantType.Int16
        assert await write("obs", "Main.setpoint", 1, int16) == "BadUserAccessDenied"
        assert await write("ops", "Main.setpoint", 42, int16) == "Good"
        assert await write("ops", "Main.gain", 2.5, ua.VariantType.Float) == "BadUserAccessDenied"
        assert await write("eng", "Main.gain", 2.5, ua.VariantType.Float) == "Good"
        assert await write("eng", "Main.text", "a longer text", ua.VariantType.String) == "Good"
        assert await write("eng", "Main.list", [1, 2, 3, 4, 5], int16) == "Good"
        # What the program drives, what is constant and what is an input, nobody writes.
        for path in ("Main.turns", "Main.k", "Main.seen"):
            assert await write("eng", path, 1, int16) == "BadUserAccessDenied", path
        assert await write("eng", "Main.setpoint", 1.0, ua.VariantType.Double) == "BadTypeMismatch"
        assert await write("eng", "Main.text", "x" * 21, ua.VariantType.String) == "BadOutOfRange"
        async with site.client(user="obs") as client:

            async def values() -> list[Any]:
                names = ("setpoint", "gain", "text", "list")
                return [await client.get_node(f"ns=2;s=Main.{name}").read_value() for name in names]

            async def there() -> bool:
                return await values() == [42, 2.5, "a longer text", [1, 2, 3, 4, 5]]

            await _eventually(there)

    _with(tmp_path, test)


def test_ranges_methods_events_and_time_stamps(tmp_path: Path) -> None:
    async def test(site: Site, controller: LocalController) -> None:
        async with site.client(user="eng") as client:

            async def ranged(text: str) -> ua.DataValue:
                wanted = ua.ReadValueId(
                    NodeId=ua.NodeId("Main.list", 2),
                    AttributeId=ua.AttributeIds.Value,
                    IndexRange=text,
                )
                (value,) = await client.uaclient.read(ua.ReadParameters(NodesToRead=[wanted]))
                return value

            async def published() -> bool:
                return bool((await ranged("0")).Value.Value == [10])

            await _eventually(published)
            assert (await ranged("1:3")).Value.Value == [20, 30, 40]
            assert (await ranged("9")).StatusCode.name == "BadIndexRangeNoData"
            assert (await ranged("3:1")).StatusCode.name == "BadIndexRangeInvalid"
            value = await client.get_node("ns=2;s=Main.turns").read_data_value()
            assert value.StatusCode.is_good()
            assert (
                abs(
                    (
                        dt.datetime.now(dt.UTC) - value.SourceTimestamp.replace(tzinfo=dt.UTC)
                    ).total_seconds()
                )
                < 60
            )
            controller_node = client.get_node("ns=2;s=Controller")
            info = json.loads(await controller_node.call_method(ua.NodeId("Controller.Info", 2)))
            assert info["state"] == "run"
            assert await controller_node.call_method(ua.NodeId("Controller.Stop", 2)) is True
            assert (
                json.loads(await controller_node.call_method(ua.NodeId("Controller.Info", 2)))[
                    "state"
                ]
                == "stop"
            )
            assert await controller_node.call_method(ua.NodeId("Controller.Start", 2)) is True

            seen: list[Any] = []

            class Listener:
                def event_notification(self, event: Any) -> None:
                    seen.append(event)

            subscription = await client.create_subscription(100, Listener())
            types = await client.nodes.base_event_type.get_children()
            (fault_type,) = [
                node for node in types if (await node.read_browse_name()).Name == "ProgramFault"
            ]
            await subscription.subscribe_events(controller_node, fault_type)
            await client.get_node("ns=2;s=Main.bad").write_value(
                ua.DataValue(ua.Variant(True, ua.VariantType.Boolean))
            )

            async def told() -> bool:
                return bool(seen)

            await _eventually(told)
            assert seen[0].Kind == "division by zero"
            assert SOURCE.splitlines()[seen[0].Line - 1].startswith("IF bad")
        async with site.client(user="ops") as client:
            with pytest.raises(ua.UaStatusCodeError):
                await client.get_node("ns=2;s=Controller").call_method(
                    ua.NodeId("Controller.Stop", 2)
                )

    _with(tmp_path, test)


def test_what_is_served_and_that_serving_writes_nothing(tmp_path: Path) -> None:
    class Watch:
        def datachange_notification(self, _node: object, _value: object, _data: object) -> None:
            return

    async def test(site: Site, controller: LocalController) -> None:
        offered = await Client(site.url, timeout=20).connect_and_get_server_endpoints()
        assert {(row.SecurityPolicyUri.rpartition("#")[2], row.SecurityMode.name) for row in offered} == {
            ("Basic256Sha256", "Sign"), ("Basic256Sha256", "SignAndEncrypt"),
        }  # fmt: skip
        tokens = {token.TokenType.name for row in offered for token in row.UserIdentityTokens}
        assert tokens == {"UserName", "Certificate"}, "nobody is anonymous"
        shm = SharedMemory(controller.paths.shm)
        async with site.client(user="eng") as client:
            node = client.get_node("ns=2;s=Main.setpoint")
            assert await node.read_value() == 7
            assert await client.get_node("ns=2;s=Main.text").read_value() == "abc"
            # All nodes were made, told and read, and nothing was queued for the program.
            assert shm._u32(twin._HEAD) == 0

            # A part of an array is refused as a whole, and nothing of it arrives.
            part = ua.WriteValue(
                NodeId=ua.NodeId("Main.list", 2),
                AttributeId=ua.AttributeIds.Value,
                IndexRange="1:2",
                Value=ua.DataValue(ua.Variant([7, 8], ua.VariantType.Int16)),
            )
            (code,) = await client.uaclient.write(ua.WriteParameters(NodesToWrite=[part]))
            assert code.name == "BadWriteNotSupported"
            subscription = await client.create_subscription(100, Watch())
            items = [
                ua.MonitoredItemCreateRequest(
                    ItemToMonitor=ua.ReadValueId(
                        NodeId=ua.NodeId("Main.list", 2), AttributeId=ua.AttributeIds.Value, IndexRange=part
                    ),
                    RequestedParameters=ua.MonitoringParameters(ClientHandle=number),
                )
                for number, part in enumerate((None, "1:2"))
            ]  # fmt: skip
            made = await subscription.create_monitored_items(items)
            assert not isinstance(made[0], ua.StatusCode)
            assert made[1].name == "BadIndexRangeInvalid"
            assert shm._u32(twin._HEAD) == 0
            await node.write_value(ua.DataValue(ua.Variant(9, ua.VariantType.Int16)))
            assert shm._u32(twin._HEAD) == 1

    _with(tmp_path, test)


def test_reading_without_security_wants_words_and_reads_only(tmp_path: Path) -> None:
    async def test(site: Site, controller: LocalController) -> None:
        async with site.client(plain=True) as client:
            node = client.get_node("ns=2;s=Main.setpoint")
            assert await node.read_value() == 7
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await node.write_value(ua.DataValue(ua.Variant(1, ua.VariantType.Int16)))
        await _refused(site.client(plain=True, user="eng"))  # no password in the clear

    _with(tmp_path, test, anonymous="a demonstration line without secrets")


def test_what_was_scanned_while_the_server_stood_still_is_told_afterwards(tmp_path: Path) -> None:
    told: list[tuple[int, dt.datetime]] = []

    class Watch:
        def datachange_notification(self, _node: object, value: int, data: Any) -> None:
            told.append((value, data.monitored_item.Value.SourceTimestamp))

    async def test(site: Site, controller: LocalController) -> None:
        async with site.client(plain=True) as client:
            subscription = await client.create_subscription(50, Watch())
            turns = client.get_node("ns=2;s=Main.turns")
            await subscription.subscribe_data_change(turns, queuesize=100)

            async def seen() -> bool:
                return len(told) > 5

            await _eventually(seen)
            before = told[-1][0]
            # The server and this client live in this loop: nobody is served.
            time.sleep(1.5)

            async def caught_up() -> bool:
                return told[-1][0] > before + 170

            await _eventually(caught_up)
        # Of a task of 10 ms each tenth scan is told, or the next one where it began late.
        assert max(b - a for (a, _), (b, _) in itertools.pairwise(told)) <= 11
        times = [at for _, at in told]
        assert times == sorted(times)
        # Each has the time of its scan and not that of its telling.
        stood = [at for value, at in told if before < value <= before + 150]
        assert (stood[-1] - stood[0]).total_seconds() > 0.8

    _with(tmp_path, test, anonymous="a demonstration line without secrets")


def test_a_clone_makes_a_key_of_its_own(tmp_path: Path) -> None:
    first = ensure_identity(tmp_path, "machine-a")
    again = ensure_identity(tmp_path, "machine-a")
    assert (first.fresh, again.fresh) == (True, False)
    before = first.key.read_bytes()
    clone = ensure_identity(tmp_path, "machine-b")
    assert clone.fresh
    assert clone.key.read_bytes() != before
    assert clone.key.stat().st_mode & 0o777 == 0o600
    assert clone.uri == "urn:millwright:vplc:machine-b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[opcua]\nanonymous_read = "yes"', "say in words why"),
        (
            '[[opcua.user]]\nname = "a"\nrole = "boss"\npassword = "x"',
            "role = 'boss': one of observer",
        ),
        ('[[opcua.user]]\nname = "a"\nrole = "observer"', "either password or certificate"),
        ('[[opcua.user]]\nname = "a"\nrole = "observer"\npassword = "plain"', "written as scrypt"),
        ('[[opcua.client]]\nfingerprint = "12"', "64 hex digits"),
        ('[[opcua.write]]\nrole = "engineer"\ntags = []', "operator; engineers write all"),
    ],
)
def test_a_policy_that_breaks_a_rule_is_refused(text: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        OpcUaPolicy.parse(text)


def test_nothing_listens_where_nobody_may_come(tmp_path: Path) -> None:
    server = TagServer(lambda: None, "127.0.0.1", 0, policy=OpcUaPolicy(), state=tmp_path)  # type: ignore[arg-type, return-value]
    assert not server.served
    asyncio.run(server.start("p", []))
    assert not (tmp_path / "keys").exists()
