"""The chart of a release: a folder, a .tgz, an OCI address or a name in a repository, and its own name and version.

Remote charts are pulled once per provider process. Credentials go to helm in a repositories file that only this user
can read, never on a command line.
"""

import tarfile
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from simulator.provider.helm import Helm, HelmError


@dataclass(frozen=True)
class Chart:
    """A chart on this machine."""

    path: Path
    name: str
    version: str
    app_version: str


@dataclass
class ChartStore:
    """Finds charts, and remembers what it pulled.

    As the official plugin does, it takes a chart that lies in a folder or an archive whatever version is asked for.
    """

    helm: Helm
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pulled: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def locate(self, release: dict[str, Any]) -> Chart:
        """Return the chart of a Release's inputs. Raises HelmError if it is not there."""
        source, version = str(release["chart"]), str(release.get("version") or "")
        repository = release.get("repositoryOpts") or {}
        path = Path(source)
        if repository.get("repo") or source.startswith("oci://"):
            key = (repository.get("repo") or "", source, version)
            with self._lock:
                if key not in self._pulled:
                    self._pulled[key] = self._pull(source, version, repository)
            path = self._pulled[key]
        return _described(path.resolve())

    def _pull(self, source: str, version: str, repository: dict[str, Any]) -> Path:
        target = Path(tempfile.mkdtemp(dir=self.helm.folder))
        arguments = ["--destination", str(target), *(["--version", version] if version else [])]
        if repository.get("repo"):
            entry = {"name": "source", "url": repository["repo"]}
            entry |= {
                key: repository[key]
                for key in ("username", "password", "caFile", "certFile", "keyFile")
                if repository.get(key)
            }
            settings = target / "repositories.yaml"
            settings.touch(mode=0o600)
            settings.write_text(yaml.safe_dump({"apiVersion": "", "repositories": [entry]}))
            place = {"HELM_REPOSITORY_CONFIG": str(settings), "HELM_REPOSITORY_CACHE": str(target)}
            try:
                self.helm.run(["repo", "update"], environment=place)
                self.helm.run(["pull", f"source/{source}", *arguments], environment=place)
            finally:
                settings.unlink()
        else:
            self.helm.run(["pull", source, *arguments])
        return next(target.glob("*.tgz"))


def _described(path: Path) -> Chart:
    try:
        if path.is_dir():
            text = (path / "Chart.yaml").read_text()
        elif path.is_file():
            with tarfile.open(path) as archive:
                member = next(
                    name for name in archive.getnames() if name.count("/") == 1 and name.endswith("/Chart.yaml")
                )
                file = archive.extractfile(member)
                text = file.read().decode() if file else ""
        else:
            raise HelmError(f"chart {path} not found")
    except (OSError, StopIteration, tarfile.TarError) as error:
        raise HelmError(f"{path} is no Helm chart: {error or 'no Chart.yaml'}") from error
    about = yaml.safe_load(text)
    return Chart(path, str(about["name"]), str(about["version"]), str(about.get("appVersion") or ""))
