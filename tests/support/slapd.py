"""Debian's slapd as a child on loopback, with people, groups and a certificate."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ldap3 import NONE, Connection, Server
from millwright.pki.authority import Authority

SCHEMAS = Path("/etc/ldap/schema")
SUFFIX = "dc=plant"
SERVICE = f"cn=millwright,{SUFFIX}"
CONFIGURATION = """\
include {schemas}/core.schema
include {schemas}/cosine.schema
include {schemas}/inetorgperson.schema
pidfile {folder}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {folder}/slapd.crt
TLSCertificateKeyFile {folder}/slapd.key
TLSCACertificateFile {folder}/slapd.ca
security simple_bind=128
disallow bind_anon
database mdb
maxsize 10485760
suffix "{suffix}"
rootdn "cn=root,{suffix}"
rootpw {password}
directory {folder}/db
index uid eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{service}" read by self read by * none
"""
ENTRIES = """\
dn: {suffix}
objectClass: dcObject
objectClass: organization
o: Plant
dc: plant

dn: {service}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: millwright
userPassword: {password}

dn: ou=people,{suffix}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{suffix}
objectClass: organizationalUnit
ou: groups

dn: uid=lena,ou=people,{suffix}
objectClass: inetOrgPerson
uid: lena
cn: Lena Frey
sn: Frey
mail: lena@plant.example
userPassword: a long word of hers

dn: uid=max,ou=people,{suffix}
objectClass: inetOrgPerson
uid: max
cn: Another Max
sn: Max
userPassword: a long word of his

dn: cn=shift,ou=groups,{suffix}
objectClass: groupOfNames
cn: shift
member: uid=lena,ou=people,{suffix}

dn: cn=line-1-staff,ou=groups,{suffix}
objectClass: groupOfNames
cn: line-1-staff
member: uid=lena,ou=people,{suffix}
"""


@dataclass(frozen=True, slots=True)
class Slapd:
    """A running directory."""

    ldaps: str
    ldap: str
    ca_file: Path
    password: str
    folder: Path

    def change(self, dn: str, attribute: str, operation: str, *values: str) -> None:
        """Change an entry as the directory's own administrator."""
        connection = Connection(
            Server(self.ldaps, get_info=NONE),
            f"cn=root,{SUFFIX}",
            self.password,
            auto_bind=True,
            raise_exceptions=True,
        )
        connection.modify(f"{dn},{SUFFIX}", {attribute: [(operation, list(values))]})
        connection.unbind()


def _free_ports() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]


@contextlib.contextmanager
def running(folder: Path, password: str) -> Iterator[Slapd]:
    """Start it, wait until it answers, stop it by its own pid."""
    binary = shutil.which("slapd", path="/usr/sbin:/usr/lib/openldap:/usr/bin")
    assert binary is not None, "slapd is not installed: scripts/bootstrap test"
    authority = Authority(folder / "authority")
    authority.ensure()
    pair = authority.issue("localhost", hosts=("localhost", "127.0.0.1"), server=True)
    for name, data in (("crt", pair.certificate), ("key", pair.key), ("ca", authority.certificate)):
        (folder / f"slapd.{name}").write_bytes(data)
    (folder / "db").mkdir()
    words = {
        "folder": folder,
        "schemas": SCHEMAS,
        "suffix": SUFFIX,
        "service": SERVICE,
        "password": password,
    }
    configuration = folder / "slapd.conf"
    configuration.write_text(CONFIGURATION.format(**words))
    (folder / "plant.ldif").write_text(ENTRIES.format(**words))
    subprocess.run(
        [binary, "-T", "add", "-f", str(configuration), "-l", str(folder / "plant.ldif")],
        check=True,
        capture_output=True,
    )
    plain, secure = _free_ports()
    urls = (f"ldap://127.0.0.1:{plain}", f"ldaps://127.0.0.1:{secure}")
    with subprocess.Popen(
        [binary, "-f", str(configuration), "-h", " ".join(urls), "-d", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            _wait(child, (plain, secure))
            yield Slapd(urls[1], urls[0], folder / "slapd.ca", password, folder)
        finally:
            child.terminate()
            child.wait(30)


def _wait(child: subprocess.Popen[bytes], ports: tuple[int, int]) -> None:
    deadline = time.monotonic() + 60
    for port in ports:
        while True:
            assert child.poll() is None, "slapd ended"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "slapd does not answer"
                time.sleep(0.05)
