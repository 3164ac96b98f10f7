"""Charts from a folder of the user: which file is deployed, and which version is refused."""

from pathlib import Path

import pulumi
import pytest

from infra import versions
from infra.config.platform import Charts
from infra.platform.helm import ChartStore


def store(folder: Path, **overrides: str) -> ChartStore:
    return ChartStore(Charts(source=str(folder), versions=overrides), folder, None)


def unpack(folder: Path, version: str) -> Path:
    chart = folder / versions.VOLCANO.name
    chart.mkdir()
    (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: volcano\nversion: {version}\n")
    return chart


def test_an_unpacked_chart_of_another_version_is_refused(tmp_path: Path) -> None:
    """The official provider deploys what is in the folder, whatever version it is asked for."""
    unpack(tmp_path, "1.8.0")
    with pytest.raises(pulumi.RunError, match=r"charts\.source: .* holds version 1\.8\.0 of volcano, but 1\.9\.0"):
        store(tmp_path).reference(versions.VOLCANO)


@pytest.mark.parametrize("version", ["1.9.0", "v1.9.0"])
def test_an_unpacked_chart_of_the_version_is_used(tmp_path: Path, version: str) -> None:
    chart = unpack(tmp_path, version)
    assert store(tmp_path).reference(versions.VOLCANO) == {"chart": str(chart), "version": "1.9.0"}


def test_a_version_of_ones_own_is_compared(tmp_path: Path) -> None:
    chart = unpack(tmp_path, "1.8.0")
    assert store(tmp_path, volcano="1.8.0").reference(versions.VOLCANO)["chart"] == str(chart)


def test_a_packed_chart_of_the_version_comes_first(tmp_path: Path) -> None:
    unpack(tmp_path, "1.8.0")
    packed = tmp_path / "volcano-1.9.0.tgz"
    packed.touch()
    assert store(tmp_path).reference(versions.VOLCANO)["chart"] == str(packed)
