"""The one way to make a Helm release: pinned chart, explicit namespace, a deadline, NGC login where it is needed."""

from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import yaml

from infra.config.platform import Charts
from infra.names import NGC_USER
from infra.versions import Chart

MINUTES = 60
REVISION = "nemostack.io/revision"
"""Annotation of an object of a release that is patched: a new revision repeats the patch."""


class ChartStore:
    """Where the charts of a stack come from: the pinned repositories, or a mirror that the settings name."""

    def __init__(self, settings: Charts, root: Path, ngc_api_key: pulumi.Output[str] | None) -> None:
        self.settings, self.root, self.ngc_api_key = settings, root, ngc_api_key

    @property
    def folder(self) -> Path | None:
        """Folder that the settings name in place of the repositories; it holds manifests too."""
        source = self.settings.source
        return None if source is None or source.startswith("oci://") else self.root / source

    def version(self, chart: Chart) -> str:
        """Return the version that is deployed."""
        return self.settings.versions.get(chart.name, chart.version)

    def reference(self, chart: Chart) -> dict[str, Any]:
        """Arguments of a Release that say which chart: `chart`, `version`, `repository_opts`."""
        version = self.version(chart)
        source = self.settings.source
        if source is None:
            if chart.repository.startswith("oci://"):
                return {"chart": f"{chart.repository}/{chart.name}", "version": version}
            login = {"username": NGC_USER, "password": self.ngc_api_key} if chart.ngc_login else {}
            repository = kubernetes.helm.v3.RepositoryOptsArgs(repo=chart.repository, **login)
            return {"chart": chart.name, "version": version, "repository_opts": repository}
        if source.startswith("oci://"):
            return {"chart": f"{source.rstrip('/')}/{chart.name}", "version": version}
        folder = self.folder
        assert folder is not None
        packed = folder / f"{chart.name}-{version}.tgz"
        if packed.is_file():
            return {"chart": str(packed), "version": version}
        unpacked = folder / chart.name
        check_version(unpacked, chart, version)
        return {"chart": str(unpacked), "version": version}

    def release(
        self,
        name: str,
        chart: Chart,
        *,
        namespace: str,
        values: dict[str, Any],
        opts: pulumi.ResourceOptions,
        timeout_s: int = 15 * MINUTES,
        resource_name: str | None = None,
        skip_await: bool = False,
        wait_for_jobs: bool = False,
    ) -> kubernetes.helm.v3.Release:
        """Make the release `name`. Its namespace must exist; values must hold no secrets (Helm keeps them readable)."""
        return kubernetes.helm.v3.Release(
            resource_name or name,
            name=name,
            namespace=namespace,
            values=values,
            timeout=timeout_s,
            skip_await=skip_await,
            wait_for_jobs=wait_for_jobs,
            # an upgrade that fails takes back what it had newly made; the release stays, and the next `up` mends it
            cleanup_on_fail=True,
            opts=opts,
            **self.reference(chart),
        )


def revision(status: Any) -> str:
    """Number of a release's revision, as text."""
    revision = status.get("revision") if isinstance(status, dict) else getattr(status, "revision", None)
    return str(revision or 0)


def check_version(unpacked: Path, chart: Chart, version: str) -> None:
    """Compare the version of a chart in a folder with the one to deploy. Raises RunError if they differ.

    Pulumi deploys whatever the folder holds and ignores the version that it is asked for.
    """
    file = unpacked / "Chart.yaml"
    if not file.is_file():
        return  # Pulumi says that there is no chart
    held = str((yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("version"))
    if held.removeprefix("v") != version.removeprefix("v"):
        raise pulumi.RunError(
            f"charts.source: {unpacked} holds version {held} of {chart.name}, but {version} is to be deployed: put "
            f"that version there, or set charts.versions: {{{chart.name}: {held}}}"
        )
