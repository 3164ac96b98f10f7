"""Kubernetes versions: what has no support is refused, what loses it soon or is unknown is warned about."""

import json
from datetime import date, timedelta
from typing import Any

import pytest

from infra import config
from infra.config.kubernetes_versions import DEFAULTS, END_OF_SUPPORT, READ_ON, supported, version_problems
from infra.config.rules import broken_rules
from tests.unit.infra.cluster_support import CLOUDS, SECRETS, config_for

FORGOTTEN = "1.34"  # whose support on EKS ended on 2 December 2026
EKS_END = date(2026, 12, 2)


def stack(target: str, version: str | None, **cluster: Any) -> config.ClusterStackConfig:
    """Load a stack whose cluster has a version."""
    chosen = {"kubernetes_version": version} if version else {}
    return config_for(target, **{target: CLOUDS[target] | chosen | cluster})


def test_a_version_is_refused_from_the_day_after_its_last() -> None:
    settings = stack("eks", FORGOTTEN)
    assert not broken_rules(settings, set(SECRETS), EKS_END)
    assert broken_rules(settings, set(SECRETS), EKS_END + timedelta(days=1)) == [
        "eks.kubernetes_version: 1.34 has had no support on EKS since 2026-12-02: one of 1.35, 1.36"
    ]


def test_loading_judges_by_the_current_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.config.kubernetes_versions.current_date", lambda: date(2027, 1, 1))
    raw = {"nemostack:target": "eks", "nemostack:eks": json.dumps(CLOUDS["eks"] | {"kubernetes_version": FORGOTTEN})}
    with pytest.raises(config.SettingsError, match=r"^nemostack:eks\.kubernetes_version: 1\.34 has had no support"):
        config.load(raw | {"nemostack:ngc_api_key": "x"})


@pytest.mark.parametrize(("days", "warned"), [(61, False), (60, True), (0, True), (-1, False)])
def test_the_end_is_warned_about_sixty_days_ahead(days: int, warned: bool) -> None:
    said = list(config.warnings(stack("eks", FORGOTTEN), EKS_END - timedelta(days=days)))
    assert bool(said) is warned
    if warned:
        assert said[0].startswith(
            "eks.kubernetes_version: support of 1.34 on EKS ends on 2026-12-02: raise the version"
        )


def test_a_version_newer_than_the_table_is_allowed_with_a_warning() -> None:
    settings = stack("aks", "1.99")
    assert not broken_rules(settings, set(SECRETS))
    [warning] = config.warnings(settings)
    assert warning.startswith("aks.kubernetes_version: the end of support of 1.99 on AKS is not known")


def test_a_version_older_than_the_table_is_refused() -> None:
    [problem] = version_problems("gke", "1.20", READ_ON)
    assert (
        problem
        == "gke.kubernetes_version: 1.20 has had no support on GKE for a long time: one of 1.35, 1.36, or leave it out"
    )


def test_the_version_of_a_cluster_that_exists_is_its_owners() -> None:
    settings = stack("aks", "1.34", create=False)
    assert not broken_rules(settings, set(SECRETS), date(2030, 1, 1))
    assert not list(config.warnings(settings, date(2026, 11, 1)))


def test_google_s_channel_decides_unless_told_otherwise() -> None:
    settings = stack("gke", None)
    assert settings.cluster.kubernetes_version is None  # type: ignore[union-attr]
    assert not broken_rules(settings, set(SECRETS), date(2040, 1, 1))
    assert not list(config.warnings(settings, date(2040, 1, 1)))


@pytest.mark.parametrize("cloud", list(END_OF_SUPPORT))
def test_the_table(cloud: str) -> None:
    """Kubernetes leaves a minor version after the other, and the default was good for a while when it was chosen."""
    versions, ends = list(END_OF_SUPPORT[cloud]), list(END_OF_SUPPORT[cloud].values())
    minors = [int(version.removeprefix("1.")) for version in versions]
    assert minors == list(range(minors[0], minors[0] + len(minors)))
    assert ends == sorted(ends)
    if cloud in DEFAULTS:
        assert DEFAULTS[cloud] in supported(cloud, READ_ON + timedelta(days=60))
