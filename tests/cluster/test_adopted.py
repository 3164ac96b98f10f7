"""An adopted cluster is read as the API server shows it: real kubectl, real API server, simulated GPU nodes."""

import subprocess
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra.clusters.adopted import KubectlError, read, verify
from infra.config.clusters import ExistingSettings
from nemostack.kubectl.process import Access
from simulator.control_plane import ControlPlane
from tests.unit.infra.cluster_support import config_for


def judge(plane: ControlPlane, **existing: Any) -> list[str]:
    """Names of the nodes with GPUs, as the program would find them."""
    config = config_for("existing", existing={"kubeconfig": str(plane.kubeconfig), **existing})
    settings = config.cluster
    assert isinstance(settings, ExistingSettings)
    return sorted(node.name for node in verify(config, settings, Access(kubeconfig=plane.kubeconfig)))


def refused(plane: ControlPlane, **existing: Any) -> str:
    with pytest.raises(pulumi.RunError) as error:
        judge(plane, **existing)
    return str(error.value)


def test_nodes_with_gpus_are_found_and_counted(control_plane: ControlPlane) -> None:
    control_plane.add_nodes(2)
    nodes = control_plane.add_gpu_nodes(2, gpus=4)
    assert judge(control_plane, min_gpus=8) == sorted(nodes)
    said = refused(control_plane, min_gpus=9)
    assert "existing.min_gpus: 9 allocatable GPUs are required, the cluster has 8" in said
    cordoned = nodes[0]
    cordon = Access(kubeconfig=control_plane.kubeconfig).argv("cordon", cordoned)
    subprocess.run(cordon, check=True, capture_output=True)
    said = refused(control_plane, min_gpus=8)
    assert "the cluster has 4" in said
    assert f"{cordoned}: 4x" in said
    assert "(cordoned)" in said


def test_a_class_that_is_not_there(control_plane: ControlPlane) -> None:
    control_plane.add_gpu_nodes(1)
    config = config_for("existing", storage={"rwx_class_name": "nfs"})
    settings = config.cluster
    assert isinstance(settings, ExistingSettings)
    with pytest.raises(pulumi.RunError, match=r"no storage class 'nfs': available: shared, standard"):
        verify(config, settings, Access(kubeconfig=control_plane.kubeconfig))


def test_a_login_that_is_refused(control_plane: ControlPlane, tmp_path: Path) -> None:
    stranger = tmp_path / "kubeconfig"
    text = control_plane.kubeconfig.read_text()
    stranger.write_text("\n".join(line for line in text.splitlines() if "client-" not in line and "token" not in line))
    with pytest.raises(KubectlError):
        read(Access(kubeconfig=stranger), "nodes")
