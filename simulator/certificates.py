"""Keys and certificates of one control plane, made when it starts and valid for a week.

One authority signs all: the server's certificate (loopback only), etcd's, and one a client, whose common name and
organization are its user and group for RBAC. Private keys are files that only their owner reads.
"""

import datetime as dt
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=7)
CLOCK_SKEW = dt.timedelta(minutes=5)
SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 that was not there before."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a private key (P-256) and write it as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(
        path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return key


def write_public(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write the public half of `key` as PEM."""
    path.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def named(user: str, group: str | None) -> x509.Name:
    """Make the name of a certificate's holder."""
    organization = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    return x509.Name([*organization, x509.NameAttribute(NameOID.COMMON_NAME, user)])


class Authority:
    """The authority of a control plane, and the folder with all that it signed: NAME.crt and NAME.key."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self._key = write_key(folder / "ca.key")
        self._name = named("nemostack test authority", None)
        builder = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self._write("ca", builder)

    @property
    def certificate(self) -> Path:
        """The authority's own certificate, which all trust."""
        return self.folder / "ca.crt"

    def server(self, name: str) -> tuple[Path, Path]:
        """Sign a certificate for a server on loopback, which may also call its like; (certificate, key)."""
        addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        names = [x509.DNSName(host) for host in SERVER_NAMES]
        return self._sign(name, named(name, None), x509.SubjectAlternativeName([*addresses, *names]))

    def client(self, name: str, user: str, group: str | None = None) -> tuple[Path, Path]:
        """Sign a certificate by which the API knows `user` of `group`; (certificate, key)."""
        return self._sign(name, named(user, group), None)

    def _sign(self, file: str, holder: x509.Name, server: x509.SubjectAlternativeName | None) -> tuple[Path, Path]:
        key = write_key(self.folder / f"{file}.key")
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if server else [])]
        builder = self._builder(holder, key).add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        if server:
            builder = builder.add_extension(server, critical=False)
        return self._write(file, builder), self.folder / f"{file}.key"

    def _builder(self, holder: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(holder)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + LIFETIME)
        )

    def _write(self, file: str, builder: x509.CertificateBuilder) -> Path:
        path = self.folder / f"{file}.crt"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path
