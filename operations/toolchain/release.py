"""Official Pulumi releases: download, verify against a checksum pinned here, unpack.

The checksums are those that Pulumi publishes for its Homebrew formula (pulumi/homebrew-tap, commit f745989 for
3.250.0), one a platform. A file with another checksum is thrown away. HTTP proxies of the environment are honoured,
SOCKS proxies refused.
"""

import hashlib
import platform
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO

import httpx

from nemostack.errors import ToolchainError
from operations.toolchain.progress import step

VERSION = "3.250.0"
SHA256 = {
    "linux-x64": "8916fd36ccc96adbd45ca679194b685e3b767d94502ae05610878a6d9870b8f3",
    "linux-arm64": "deb4bf0d05b4cbaf3adcf82ffa44039ad0ebf039e33338ead8136877a437b4e5",
    "darwin-x64": "8aa1615ed737022949d4050bf183ab37bce1f9cecb88877bc6636db82604e348",
    "darwin-arm64": "dbd289ce3069cf567683252082e226aef533775f546df7286f64f3f36f5fda28",
}
SOURCES = (
    "https://get.pulumi.com/releases/sdk/{file}",
    "https://github.com/pulumi/pulumi/releases/download/v{version}/{file}",
)
# A machine without a way out must not wait: it builds instead.
TIMEOUT = httpx.Timeout(30.0, connect=5.0)


def platform_name() -> str:
    """Name this machine as Pulumi's release files do, e.g. `linux-x64`."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower())
    name = f"{sys.platform}-{machine}"
    if name not in SHA256:
        raise ToolchainError(f"Pulumi has no release for {sys.platform} on {platform.machine()} that is pinned here")
    return name


def unpack(archive: IO[bytes], folder: Path) -> None:
    """Put the programs of a release archive (`pulumi/*`) into `folder`/bin."""
    target = folder / "bin"
    target.mkdir()
    with tarfile.open(fileobj=archive, mode="r:gz") as tar:
        for member in tar:
            if member.isfile():
                source = tar.extractfile(member)
                assert source is not None
                program = target / Path(member.name).name
                program.write_bytes(source.read())
                program.chmod(0o755)


def download(folder: Path) -> None:
    """Fill `folder`/bin with the release's programs. Raises ToolchainError saying what each source answered."""
    name = platform_name()
    file = f"pulumi-v{VERSION}-{name}.tar.gz"
    refusals = []
    for template in SOURCES:
        url = template.format(file=file, version=VERSION)
        with tempfile.TemporaryFile() as archive:
            try:
                with step(f"downloading pulumi {VERSION} from {httpx.URL(url).host}, about 1 min"):
                    digest = fetch(url, archive)
            except (httpx.HTTPError, OSError) as error:
                refusals.append(f"{url}: {error or type(error).__name__}")
                continue
            except ImportError:  # httpx would need another package for it
                refusals.append(
                    f"{url}: no download through a SOCKS proxy; unset ALL_PROXY, set HTTPS_PROXY to an HTTP proxy"
                )
                continue
            if digest != SHA256[name]:
                refusals.append(f"{url}: its SHA-256 is {digest}, pinned is {SHA256[name]}: thrown away")
                continue
            archive.seek(0)
            unpack(archive, folder)
            return
    raise ToolchainError("; ".join(refusals))


def fetch(url: str, sink: IO[bytes], transport: httpx.BaseTransport | None = None) -> str:
    """Write what `url` answers to `sink`; its SHA-256 in hex."""
    digest = hashlib.sha256()
    with (
        httpx.Client(timeout=TIMEOUT, follow_redirects=True, transport=transport) as client,
        client.stream("GET", url) as answer,
    ):
        answer.raise_for_status()
        for chunk in answer.iter_bytes(1 << 20):
            digest.update(chunk)
            sink.write(chunk)
    return digest.hexdigest()
