"""A download counts only with the pinned checksum, and only programs are unpacked, into the folder meant for them."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from nemostack.errors import ToolchainError
from operations.toolchain import release


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"prog"))
        link = tarfile.TarInfo("pulumi/evil")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    fetch = release.fetch

    def answer_with(*answers: Any) -> None:
        queue = list(answers)
        transport = httpx.MockTransport(lambda _request: queue.pop(0))
        monkeypatch.setattr(release, "fetch", lambda url, sink: fetch(url, sink, transport))

    return answer_with


def test_good_checksum(serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = archive("pulumi/pulumi", "../../pulumi-language-python")
    monkeypatch.setattr(release, "SHA256", {release.platform_name(): hashlib.sha256(data).hexdigest()})
    serve(httpx.Response(200, content=data))
    release.download(tmp_path)
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == ["pulumi", "pulumi-language-python"]
    assert (tmp_path / "bin" / "pulumi").stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [tmp_path / "bin"]


def test_wrong_checksum_is_thrown_away_and_the_next_source_asked(serve: Any, tmp_path: Path) -> None:
    serve(httpx.Response(200, content=b"something else"), httpx.Response(404))
    with pytest.raises(ToolchainError) as failed:
        release.download(tmp_path)
    assert f"its SHA-256 is {hashlib.sha256(b'something else').hexdigest()}" in str(failed.value)
    assert "404" in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_socks_proxy_is_a_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ToolchainError, match=r"get\.pulumi\.com.*SOCKS proxy; unset ALL_PROXY"):
        release.download(tmp_path)


def test_every_platform_has_a_checksum() -> None:
    assert {len(digest) for digest in release.SHA256.values()} == {64}
    assert len(set(release.SHA256.values())) == 4
