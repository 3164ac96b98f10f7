"""A cloud's SDK is loaded for its target only, and asked for in one line where it is missing."""

import subprocess
import sys

import pulumi
import pytest

from infra import clusters
from nemostack.clone import ROOT
from tests.unit.infra import from_settings
from tests.unit.infra.cluster_support import config_for, run


@pytest.mark.parametrize(
    ("target", "package"), [("gke", "pulumi-gcp"), ("eks", "pulumi-aws"), ("aks", "pulumi-azure-native")]
)
def test_a_missing_sdk_says_how_to_get_it(target: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(f"infra.clusters.{target}")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, clusters.SDKS[target], None)  # as Python sees a package that is not there
    settings = config_for(target)
    with pytest.raises(pulumi.RunError) as error:
        run(lambda: from_settings.connect(settings))
    assert str(error.value) == f"target {target} needs {package}: make env STACK=unit"


def test_another_missing_module_is_not_blamed_on_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "infra.clusters.gke", raising=False)
    monkeypatch.setitem(sys.modules, "infra.clusters.gke.network", None)
    with pytest.raises(ModuleNotFoundError, match=r"gke\.network"):
        run(lambda: from_settings.connect(config_for("gke")))


def test_no_sdk_is_loaded_for_others() -> None:
    program = (
        "import infra.clusters, sys; print([name for name in infra.clusters.SDKS.values() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
