"""The environment in which Pulumi commands work in this clone.

A user's own choices win: a Pulumi on PATH, a backend, a login, a passphrase. What is missing is kept in the clone
under `.nemostack/` (0700): state in `.nemostack/pulumi`, a random passphrase in `.nemostack/passphrase` (0600).
"""

import json
import os
import secrets
import shlex
from pathlib import Path

from nemostack import clone, proxies
from nemostack.errors import ToolchainError
from operations.toolchain import program_set, programs
from operations.toolchain.cache import cache_dir

STATE = clone.ROOT / ".nemostack"
VENV = clone.ROOT / ".venv"
PASSPHRASES = {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"}


def own_backend() -> Path:
    """Folder of the file backend that is used when the user has none of his own."""
    return STATE / "pulumi"


def backend_of_user() -> str | None:
    """Return the backend that the user chose by variable or `pulumi login`; None when he has not."""
    if url := os.environ.get("PULUMI_BACKEND_URL"):
        return None if url == own_backend().as_uri() else url
    if os.environ.get("PULUMI_ACCESS_TOKEN"):
        return os.environ.get("PULUMI_API", "https://api.pulumi.com")
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    try:
        credentials = json.loads((home / "credentials.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ToolchainError(
            f"cannot read {home / 'credentials.json'}: {error}; repair it or run `pulumi logout`"
        ) from None
    return credentials.get("current") or None


def make_passphrase() -> Path:
    """Return the file with this clone's passphrase, made on first use."""
    path = STATE / "passphrase"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    return path


def missing_passphrase() -> str | None:
    """What to do when the user's own backend keeps no secrets by itself and he has set no passphrase; else None.

    Not an error as such: a stack may have another secrets provider, and on a terminal Pulumi asks.
    """
    backend = backend_of_user()
    if backend is None or backend.startswith(("http://", "https://")) or PASSPHRASES & os.environ.keys():
        return None
    return (
        f"the backend {backend} is your own, and Pulumi needs a passphrase for secrets there: set "
        "PULUMI_CONFIG_PASSPHRASE_FILE (or PULUMI_CONFIG_PASSPHRASE), or keep the state in this clone, which has a "
        f"passphrase: PULUMI_BACKEND_URL={own_backend().as_uri()}"
    )


def variables() -> dict[str, str]:
    """Return the variables to set, without those that the user set himself. Installs the toolchain if need be."""
    if not (clone.ROOT / "Pulumi.yaml").exists():
        raise ToolchainError(
            "this command works on the stacks of a clone of the repository, and nemostack runs from an installed "
            "package here: run it in a clone, or name the services of a deployment with --outputs FILE or --*-url"
        )
    python = VENV / "bin" / "python"
    if not python.exists():
        raise ToolchainError(f"{VENV} is missing: run `make env` first")
    chosen = {
        "PATH": search_path(programs.ensure(["pulumi"])),
        "PULUMI_PYTHON_CMD": str(python),
        "PYTHONPATH": python_path(),
        # The engine and its plugins talk to each other on loopback, and so do we to the services.
        **proxies.exclusions(os.environ),
    }
    if backend_of_user() is None:
        STATE.mkdir(mode=0o700, exist_ok=True)
        own_backend().mkdir(mode=0o700, exist_ok=True)
        chosen["PULUMI_BACKEND_URL"] = own_backend().as_uri()
        # The state remembers the passphrase's salt: stack files need not (docs/adr/0004).
        chosen["PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER"] = "true"
        if not PASSPHRASES & os.environ.keys():
            chosen["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(make_passphrase())
    chosen.setdefault("PULUMI_SKIP_UPDATE_CHECK", os.environ.get("PULUMI_SKIP_UPDATE_CHECK", "true"))
    return chosen


def search_path(found: dict[str, str]) -> str:
    """PATH: this clone's Python first; cached programs before the user's only when his Pulumi does not serve."""
    cached = list(dict.fromkeys(str(Path(path).parent) for path in found.values() if is_cached(path)))
    ours_first = is_cached(found["pulumi"])
    user = [entry for entry in program_set.user_path().split(os.pathsep) if entry != str(VENV / "bin")]
    return os.pathsep.join([str(VENV / "bin"), *(cached + user if ours_first else user + cached)])


def is_cached(path: str) -> bool:
    """Whether a program lies in the cache folder."""
    return Path(path).is_relative_to(cache_dir())


def python_path() -> str:
    """PYTHONPATH with the clone first: the engine starts our provider in another folder."""
    own = str(clone.ROOT)
    others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != own]
    return os.pathsep.join([own, *others])


def as_shell() -> str:
    """Lines for `eval`: the variables, and a `pulumi` function that keeps tracked stack files as they are."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables().items()]
    lines.append(f'pulumi() {{ {shlex.quote(str(VENV / "bin" / "python"))} -m cli toolchain run -- pulumi "$@"; }}')
    return "\n".join(lines)
