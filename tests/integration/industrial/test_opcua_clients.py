"""`vplc run` as a client that is neither ours nor Python meets it, and our models beside the published ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from industrial.opcua.models import NAMESPACES, Models
from industrial.runtime.settings import MachineSettings, SettingsError
from industrial.security import fingerprint_of, hash_password
from tests.bench.controller import Controller, controller
from tests.support.nodejs import node, packages

PASSWORD = "correct horse battery"
SOURCE = """FUNCTION_BLOCK Doubler
VAR_INPUT x : INT; END_VAR
VAR_OUTPUT y : INT; END_VAR
y := x * 2;
END_FUNCTION_BLOCK
PROGRAM Main
VAR setpoint : INT := 7; {comment} gain : REAL := 1.5; bad : BOOL; zero : INT; END_VAR
VAR turns AT %QW0 : INT; twice : Doubler; END_VAR
turns := turns + 1;
twice(x := setpoint);
IF bad THEN turns := turns / zero; END_IF;
END_PROGRAM
""".replace("{comment}", "(* wanted level *)")
MACHINE = '[opcua.machine]\nmanufacturer = "Works"\nserial_number = "F-7"\nyear_of_construction = 2024\nlocation = "hall 2"\n'


@dataclass(slots=True)
class Site:
    """A running controller and two applications, of which it trusts one."""

    folder: Path
    running: Controller

    def ask(self, steps: list[dict[str, Any]], *, application: str = "scada", user: str = "eng", **more: Any) -> Any:  # fmt: skip
        """What node-opcua is answered."""
        job = {
            "url": f"opc.tcp://127.0.0.1:{self.running.opcua}/",
            "certificate": str(self.folder / f"{application}.pem"),
            "key": str(self.folder / f"{application}.key"),
            "applicationUri": f"urn:test:{application}",
            "pki": str(self.folder / f"pki-{application}"),
            "trust": str(self.running.folder / "state/keys/opcua.der"),
            "user": user,
            "password": PASSWORD,
            "steps": steps,
        } | more
        path = self.folder / "job.json"
        path.write_text(json.dumps(job))
        return node("session.mjs", str(path))


def _application(folder: Path, name: str) -> str:
    """Certificate and key as PEM files; the certificate's fingerprint."""
    key, der = folder / f"{name}.key", folder / f"{name}.der"
    asyncio.run(
        setup_self_signed_certificate(
            key, der, f"urn:test:{name}", "localhost", [ExtendedKeyUsageOID.CLIENT_AUTH],
            {"countryName": "DE", "commonName": name},
        )
    )  # fmt: skip
    certificate = x509.load_der_x509_certificate(der.read_bytes())
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    return fingerprint_of(der.read_bytes())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("applications")
    known = _application(folder, "scada")
    _application(folder, "stranger")
    secret = hash_password(PASSWORD)
    users = "".join(
        f'[[opcua.user]]\nname = "{name}"\nrole = "{role}"\npassword = "{secret}"\n'
        for name, role in (("obs", "observer"), ("ops", "operator"), ("eng", "engineer"))
    )
    security = (
        f'{users}[[opcua.client]]\nname = "scada"\nfingerprint = "{known}"\n'
        '[[opcua.write]]\nrole = "operator"\ntags = ["Main.set*"]\n'
    )
    with controller(SOURCE, security=security, manifest=MACHINE, opcua=True) as running:
        yield Site(folder, running)


def _names(rows: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {row["name"].rpartition(":")[2]: row for row in rows}


def test_node_opcua_browses_the_models(site: Site) -> None:
    namespaces = site.ask([{"read": "i=2255"}])["answers"][0]["value"]
    di, plc, machinery = (namespaces.index(uri) for uri in NAMESPACES.values())
    answers = site.ask(
        [
            {"browse": f"ns={di};i=5001"},
            {"browse": "ns=2;s=Device"},
            {"browse": "ns=2;s=Device/Resource/Tasks"},
            {"browse": "ns=2;s=Device/Resource/Programs"},
            {"browse": "ns=2;s=Main"},
            {"browse": "ns=2;s=Main.twice"},
            {"browse": f"ns={machinery};i=1001"},
            {"browse": "ns=2;s=Machine/Identification"},
            {"read": "ns=2;s=Device/Manufacturer"},
            {"read": "ns=2;s=Device/Task/main/Interval"},
            {"read": "ns=2;s=Machine/Identification/Location"},
            {"read": "ns=2;s=Main.setpoint", "attribute": "Description"},
            {"read": "ns=2;s=DI/IsNamespaceSubset"},
        ]
    )["answers"]
    devices, device, tasks, programs, main, twice, machines, identification = map(_names, answers[:8])  # fmt: skip
    assert devices["bench"]["type"] == f"ns={plc};i=1001"
    assert {"Manufacturer", "Resources", "MethodSet", "Identification", "DeviceHealth", "GlobalVars"} <= device.keys()  # fmt: skip
    assert tasks["main"]["type"] == f"ns={plc};i=1006"
    assert programs["Main"]["id"] == "ns=2;s=Main"
    assert programs["Main"]["type"] == "ns=2;s=Type/Main"
    assert (main["twice"]["type"], main["twice"]["reference"]) == ("ns=2;s=Type/Doubler", f"ns={plc};i=4004")  # fmt: skip
    assert twice["x"]["reference"] == f"ns={plc};i=4001"
    assert twice["y"]["reference"] == f"ns={plc};i=4002"
    assert list(machines) == ["bench"]
    assert {"Manufacturer", "SerialNumber", "ProductInstanceUri", "YearOfConstruction", "Location"} <= identification.keys()  # fmt: skip
    assert [row["value"] for row in answers[8:]] == ["Millwright", "T#10ms", "hall 2", "wanted level", True]  # fmt: skip


def test_node_opcua_reads_writes_by_role_and_subscribes(site: Site) -> None:
    write = {"write": "ns=2;s=Main.setpoint", "type": "Int16", "value": 21}
    level = {"read": "ns=2;s=Main.setpoint", "attribute": "UserAccessLevel"}
    refused, access, value = site.ask([write, level, {"read": "ns=2;s=Main.gain"}], user="obs")["answers"]  # fmt: skip
    assert refused == "BadUserAccessDenied"
    assert access["value"] == 1, "an observer is told that it may only read"
    assert (value["value"], value["status"]) == (1.5, "Good")
    taken, access, forbidden, driven = site.ask(
        [
            write, level,
            {"write": "ns=2;s=Main.gain", "type": "Float", "value": 2.5},
            {"write": "ns=2;s=Main.turns", "type": "Int16", "value": 1},
        ],
        user="ops",
    )["answers"]  # fmt: skip
    assert (taken, access["value"]) == ("Good", 3)
    assert (forbidden, driven) == ("BadUserAccessDenied", "BadUserAccessDenied")
    (seen,) = site.ask([{"subscribe": ["ns=2;s=Main.turns"], "changes": 4}], user="obs", mode="Sign")["answers"]  # fmt: skip
    rows = seen["ns=2;s=Main.turns"]
    assert all(row["status"] == "Good" and row["stamped"] for row in rows)
    assert len({row["value"] for row in rows}) == len(rows), "each change is one of its own"
    (seen,) = site.ask([{"subscribe": ["ns=2;s=Main.twice.y"], "changes": 1}], user="obs")["answers"]  # fmt: skip
    assert seen["ns=2;s=Main.twice.y"][0]["value"] == 42


def test_node_opcua_calls_methods_by_role(site: Site) -> None:
    stop = {"call": ["ns=2;s=Device/MethodSet", "ns=2;s=Device/MethodSet/Stop"]}
    start = {"call": ["ns=2;s=Device/Resource/MethodSet", "ns=2;s=Device/Resource/MethodSet/Start"]}
    info = {"call": ["ns=2;s=Controller", "ns=2;s=Controller.Info"]}
    (refused,) = site.ask([stop], user="ops")["answers"]
    assert refused["status"] == "BadUserAccessDenied"
    stopped, told, started, again = site.ask([stop, info, start, info])["answers"]
    assert (stopped["status"], started["status"]) == ("Good", "Good")
    assert json.loads(told["outputs"][0])["state"] == "stop"
    assert json.loads(again["outputs"][0])["state"] == "run"


def test_node_opcua_is_refused_without_trust(site: Site) -> None:
    steps = [{"read": "ns=2;s=Main.gain"}]
    assert "refused" in site.ask(steps, application="stranger"), "an unknown application"
    assert "refused" in site.ask(steps, user="nobody")
    assert "refused" in site.ask(steps, password="wrong password")
    assert "refused" in site.ask(steps, mode="None", policy="None")
    assert "refused" in site.ask(steps, trust="", pki=str(site.folder / "pki-empty")), "node-opcua does not know the vPLC"  # fmt: skip
    assert "answers" in site.ask(steps)


def test_the_models_are_those_that_are_published() -> None:
    """Every node of DI and Machinery: id, class, name, type of value, what it hangs on, modelling rule."""
    published: dict[tuple[str, int], dict[str, Any]] = {}
    for name in ("Opc.Ua.Di.NodeSet2.xml", "Opc.Ua.Machinery.NodeSet2.xml"):
        published |= _published(packages() / "node-opcua-nodesets/nodesets" / name)

    async def compare() -> int:
        server = Server()
        await server.init()
        models = Models(server, await server.register_namespace("urn:test"))
        await models.define()
        compared = 0
        for model in ("DI", "M"):
            index = models.index[model]
            mine = [
                key for key in list(server.iserver.aspace.keys()) if key.NamespaceIndex == index
            ]
            for node_id in mine:
                theirs = published[NAMESPACES[model], node_id.Identifier]
                ours = server.get_node(node_id)
                uris = await server.get_namespace_array()
                name = await ours.read_browse_name()
                assert (uris[name.NamespaceIndex], name.Name) == theirs["name"], node_id
                node_class = await ours.read_node_class()
                assert node_class.name == theirs["class"], node_id
                references = {
                    (one.ReferenceTypeId.Identifier, one.IsForward, uris[one.NodeId.NamespaceIndex], one.NodeId.Identifier)
                    for one in await ours.get_references()
                    if one.ReferenceTypeId.NamespaceIndex == 0
                }  # fmt: skip
                # Up: what it hangs on, its base, its type, its rule. Down we offer a part.
                up = {
                    row for row in references
                    if row[0] in ((37, 40) if row[1] else (45, 46, 47))
                }  # fmt: skip
                assert up <= theirs["references"], (node_id, up - theirs["references"])
                if node_class is ua.NodeClass.Variable and theirs["type"]:
                    kind = await ours.read_data_type()
                    assert (uris[kind.NamespaceIndex], kind.Identifier) == theirs["type"], node_id
                compared += 1
        return compared

    assert asyncio.run(compare()) > 90


def _published(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    space = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
    root = ElementTree.parse(path).getroot()  # noqa: S314 - a package with a checksum
    uris = ["http://opcfoundation.org/UA/"] + [str(row.text) for row in root.iter(f"{space}Uri")]
    aliases = {row.attrib["Alias"]: str(row.text) for row in root.iter(f"{space}Alias")}

    def place(text: str) -> tuple[str, int]:
        text = aliases.get(text, text)
        head, _, rest = text.rpartition(";")
        return uris[int(head[3:]) if head else 0], int(rest[2:])

    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in root:
        if "NodeId" not in row.attrib:
            continue
        head, _, name = row.attrib["BrowseName"].partition(":")
        prefix = head if head.isdigit() else ""
        kind = row.attrib.get("DataType")
        found[place(row.attrib["NodeId"])] = {
            "name": (uris[int(prefix or 0)], name if prefix else row.attrib["BrowseName"]),
            "class": row.tag.removeprefix(f"{space}UA"),
            "type": place(kind) if kind else None,
            "references": {
                (place(one.attrib["ReferenceType"])[1], one.attrib.get("IsForward") != "false", *place(str(one.text)))
                for one in row.iter(f"{space}Reference")
            },
        }  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ({"opcua": {"colour": 1}}, "opcua.colour is not known: one of machine, port"),
        ({"opcua": {"machine": {"maker": "x"}}}, "machine.maker is not known"),
        ({"opcua": {"machine": {"model": ""}}}, "machine.model = '': 1 to 200"),
        ({"opcua": {"machine": {"year_of_construction": 24}}}, "= 24: 1900 to 9999"),
        ({"opcua": {"machine": {"initial_operation_date": "soon"}}}, "a date, as 2026-01-31"),
    ],
)
def test_a_nameplate_that_breaks_a_rule_is_refused(text: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        MachineSettings.parse(text)
