"""The authority: what it issues, gives again, refuses, and survives."""

from __future__ import annotations

import datetime as dt
import ipaddress
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from millwright.pki import Authority, PkiError, expires_within, write_client, write_host


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def _load(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def test_a_host_certificate_carries_names_addresses_and_usages(authority: Authority) -> None:
    pair = authority.issue("h1", hosts=["10.0.0.1", "h1.plant"], server=True, client=True)
    found = _load(pair.certificate)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["h1", "h1.plant"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.1")]
    usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    found.verify_directly_issued_by(_load(authority.certificate))


def test_private_keys_are_readable_by_their_owner_only(
    authority: Authority, tmp_path: Path
) -> None:
    write_host(authority, tmp_path / "host", "h1", ["10.0.0.1"])
    write_client(authority, tmp_path / "client", "orchestrator")
    keys = [
        path for path in tmp_path.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()
    ]
    # The root's, two issued, four of the host's layout, one of the client's.
    assert len(keys) == 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def test_a_good_certificate_is_given_again(authority: Authority) -> None:
    first = authority.issue("h1", hosts=["10.0.0.1"], server=True)
    assert authority.issue("h1", hosts=["10.0.0.1"], server=True) == first
    assert len(authority.inventory()) == 1


@pytest.mark.parametrize(
    "change", [{"hosts": ["10.0.0.2"], "server": True}, {"hosts": ["10.0.0.1"], "client": True}]
)
def test_other_names_or_usages_mean_a_new_one(
    authority: Authority, change: dict[str, object]
) -> None:
    first = authority.issue("h1", hosts=["10.0.0.1"], server=True)
    second = authority.issue("h1", **change)  # type: ignore[arg-type]
    assert _load(first.certificate).serial_number != _load(second.certificate).serial_number


def test_what_ends_soon_is_renewed(authority: Authority) -> None:
    short = authority.issue("h1", server=True, days=61)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
    assert not expires_within(short.certificate, 60)
    assert expires_within(short.certificate, 60, later)
    path = authority.folder / "issued/h1.pem"
    key = authority.folder / "issued/h1.key"
    # As it will lie there in two days: signed by the same root, 59 days left.
    root_key = serialization.load_pem_private_key(
        (authority.folder / "ca.key").read_bytes(), password=None
    )
    old = _load(short.certificate)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(dt.datetime.now(dt.UTC) + dt.timedelta(days=59))
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    from cryptography.hazmat.primitives import hashes

    aged = builder.sign(root_key, hashes.SHA256())  # type: ignore[arg-type]
    path.write_bytes(aged.public_bytes(serialization.Encoding.PEM))
    renewed = authority.issue("h1", server=True)
    assert _load(renewed.certificate).serial_number != aged.serial_number
    assert not expires_within(renewed.certificate, 360)
    assert key.read_bytes() == renewed.key


@pytest.mark.parametrize("file", ["h1.pem", "h1.key"])
def test_a_damaged_pair_is_replaced(authority: Authority, file: str) -> None:
    authority.issue("h1", server=True)
    damaged = authority.folder / "issued" / file
    damaged.write_bytes(damaged.read_bytes()[:40])
    pair = authority.issue("h1", server=True)
    key = serialization.load_pem_private_key(pair.key, password=None)
    assert key.public_key() == _load(pair.certificate).public_key()
    assert damaged.read_bytes() in (pair.certificate, pair.key)


def test_a_new_key_beside_an_old_certificate_is_noticed(authority: Authority) -> None:
    first = authority.issue("h1", server=True)
    other = authority.issue("h2", server=True)
    (authority.folder / "issued/h1.key").write_bytes(other.key)
    assert authority.issue("h1", server=True) != first


def test_a_certificate_of_another_root_is_not_given_out(
    authority: Authority, tmp_path: Path
) -> None:
    foreign = Authority(tmp_path / "other").issue("h1", server=True)
    folder = authority.folder / "issued"
    folder.mkdir(parents=True)
    (folder / "h1.pem").write_bytes(foreign.certificate)
    (folder / "h1.key").write_bytes(foreign.key)
    _load(authority.issue("h1", server=True).certificate).verify_directly_issued_by(
        _load(authority.certificate)
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "", "server": True}, "name = ''"),
        ({"name": "../etc/passwd", "server": True}, "name = '../etc/passwd'"),
        ({"name": "x" * 65, "server": True}, "1 to 64 characters"),
        ({"name": "h1"}, "for a server, a client, or both"),
        ({"name": "h1", "server": True, "hosts": ["10.0.0.300/8"]}, "host = '10.0.0.300/8'"),
        ({"name": "h1", "server": True, "days": 60}, "days = 60: 61 to 3650"),
    ],
)
def test_bad_input_is_refused_by_field_value_and_rule(
    authority: Authority, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(PkiError, match="=") as caught:
        authority.issue(**arguments)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert authority.inventory() == []


def test_the_root_is_never_replaced(authority: Authority) -> None:
    root = authority.certificate
    authority.ensure()
    assert authority.certificate == root
    key = authority.folder / "ca.key"
    saved = key.read_bytes()
    key.unlink()
    with pytest.raises(PkiError, match=r"ca\.key.*missing beside its certificate"):
        authority.issue("h1", server=True)
    assert authority.certificate == root
    key.write_bytes(saved)
    authority.issue("h1", server=True)


def test_a_first_start_killed_after_the_key_begins_again(authority: Authority) -> None:
    authority.folder.mkdir()
    (authority.folder / "ca.key").write_bytes(b"half")
    pair = authority.issue("h1", server=True)
    _load(pair.certificate).verify_directly_issued_by(_load(authority.certificate))


def test_first_starts_at_once_make_one_root(tmp_path: Path) -> None:
    roots: list[bytes] = []
    barrier = threading.Barrier(4)

    def begin() -> None:
        barrier.wait()
        mine = Authority(tmp_path / "ca")
        mine.ensure()
        roots.append(mine.certificate)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(roots) == 4
    assert len(set(roots)) == 1


def test_the_inventory_tells_of_every_certificate(authority: Authority) -> None:
    first = authority.issue("h1", hosts=["10.0.0.1"], server=True)
    authority.issue("h1", hosts=["10.0.0.2"], server=True, client=True)
    rows = authority.inventory()
    assert [row["names"] for row in rows] == [["h1", "10.0.0.1"], ["h1", "10.0.0.2"]]
    assert rows[0]["serial"] == f"{_load(first.certificate).serial_number:x}"
    assert (rows[0]["client"], rows[1]["client"]) == (False, True)
    # A line cut short by a full disk hides nothing of the others.
    with (authority.folder / "issued.jsonl").open("a") as file:
        file.write('{"serial": "12')
    assert len(authority.inventory()) == 2


def test_a_layout_is_written_once_and_mended(authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "h1"
    write_host(authority, folder, "h1", ["10.0.0.1"])
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pem")}
    assert {str(path.relative_to(folder)) for path in files} == {
        "CA/cacert.pem",
        "libvirt/servercert.pem",
        "libvirt/clientcert.pem",
        "libvirt/private/serverkey.pem",
        "libvirt/private/clientkey.pem",
        "qemu/ca-cert.pem",
        "qemu/server-cert.pem",
        "qemu/server-key.pem",
        "qemu/client-cert.pem",
        "qemu/client-key.pem",
    }
    certificate = folder / "libvirt/servercert.pem"
    certificate.write_bytes(b"")
    write_host(authority, folder, "h1", ["10.0.0.1"])
    changed = {path for path, when in files.items() if path.stat().st_mtime_ns != when}
    assert certificate in changed
    assert changed <= {certificate} | {path for path in files if path.stem.endswith("key")}
    assert b"BEGIN CERTIFICATE" in certificate.read_bytes()
