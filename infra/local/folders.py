"""The folder of a local stack, and its files, which only their owner can read.

<stack folder>/supervisor/   supervisord's configuration, one file a service; gone after destroy
<stack folder>/config/       the settings of each service as JSON; gone after destroy
<stack folder>/logs/         kept
<stack folder>/data/         kept: MLflow's history, repositories, entities
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nemostack.errors import LocalServiceError

# sun_path of a UNIX socket address: 108 bytes on Linux, 104 on macOS, with the final zero.
SOCKET_PATH_LIMIT = 103
# What supervisord's configuration syntax cannot quote.
UNQUOTABLE = ('"', "\n", " ;", " #")


@dataclass(frozen=True)
class StackFolder:
    """The folder of one local stack."""

    path: Path

    @property
    def supervisor(self) -> Path:
        """Configuration and pid of supervisord."""
        return self.path / "supervisor"

    @property
    def programs(self) -> Path:
        """One supervisord file and one launch file a service."""
        return self.supervisor / "programs"

    @property
    def config(self) -> Path:
        """Settings of the services."""
        return self.path / "config"

    @property
    def logs(self) -> Path:
        """Logs of the services and of supervisord."""
        return self.path / "logs"

    @property
    def data(self) -> Path:
        """What the services keep."""
        return self.path / "data"

    @property
    def socket(self) -> Path:
        """Supervisord's socket: in the stack's folder, or in a private folder with a short name if that is too long."""
        inside = self.supervisor / "s.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_LIMIT - 20:  # supervisord binds it under a longer name first
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return Path(base) / f"nemostack-{os.getuid()}" / f"{digest}.sock"

    def log(self, service: str) -> Path:
        """Return the log of one service."""
        return self.logs / f"{service}.log"

    def create(self) -> None:
        """Make the folders, private. Raises LocalServiceError for a path that cannot be used."""
        if any(part in str(self.path) for part in UNQUOTABLE):
            raise LocalServiceError(f"{self.path}: quotes, ' ;' and ' #' in the path are not supported; move the clone")
        if self.path.parent.name == ".nemostack":
            private(self.path.parent)
        for folder in (self.path, self.supervisor, self.programs, self.config, self.logs, self.data):
            private(folder)
        if self.socket.parent != self.supervisor:
            private(self.socket.parent)

    def remove_runtime(self) -> None:
        """Remove all but logs and data."""
        shutil.rmtree(self.supervisor, ignore_errors=True)
        shutil.rmtree(self.config, ignore_errors=True)
        self.socket.unlink(missing_ok=True)


def private(folder: Path) -> None:
    """Make a folder that is ours alone. Refuses one that belongs to someone else."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise LocalServiceError(f"{folder} is not a folder of this user: remove it and try again")
    folder.chmod(0o700)
