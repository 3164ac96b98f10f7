"""A NIM behind a certificate of a private CA: refused with the remedy, and the remedy works."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from load_tests.mock_nim import Cadence, Listing, MockNim
from tests.unit.load_tests.conftest import Outcome

pytestmark = pytest.mark.slow


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Make a CA and, signed by it, the certificate of 127.0.0.1: files of the CA, and of key and certificate."""
    now = dt.datetime.now(dt.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")]) for name in keys}

    def sign(name: str, *extensions: x509.ExtensionType) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["ca"].public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[name].public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(keys["ca"], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca, server = folder / "ca.crt", folder / "server.pem"
    ca.write_bytes(sign("ca", x509.BasicConstraints(ca=True, path_length=0), usage))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    key = keys["server"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server.write_bytes(key + sign("server", address))
    return ca, server


@pytest.fixture
def nim(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL of a NIM with TLS, and the certificate of its CA."""
    ca, server_file = _certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(server_file)
    mock = MockNim(Cadence(ttft_s=0.01, itl_s=0.001, tokens=3), Listing())
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(mock.serve, "127.0.0.1", 0, ssl=tls))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", ca
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_private_ca(
    nim: tuple[str, Path], load: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, ca = nim
    options = "--adapters none -u 1 --duration 3s --warmup 0s"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    refused = load(url, options)
    assert refused.code == 4
    assert "CERTIFICATE_VERIFY_FAILED" in refused.err
    assert "set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to a file with its certificate" in refused.err
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    trusted = load(url, options)
    assert trusted.code in {0, 22}, trusted.err  # INVALID where the machine is busy
    assert trusted.report["overall"]["successes"] > 0
    assert trusted.report["overall"]["errors"] == 0
