import httpx
import httpx2
import pytest

from nemostack.clients.tls import shared_context


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_clients_of_a_library_share_a_context_that_verifies(library):
    context = shared_context(library)
    assert shared_context(library) is context
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    assert context.cert_store_stats()["x509_ca"] > 50, "the authorities of the public web"


def test_a_private_authority_named_later_counts(tmp_path, monkeypatch):
    """A variable that is set after the first client was made, as a notebook does."""
    shared_context(httpx)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(FileNotFoundError):
        shared_context(httpx)
