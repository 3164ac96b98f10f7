"""Helm's record of releases: what is half done, which command ends it, which objects a release should have."""

import base64
import gzip
import json

import pytest

from operations.helm_releases import Release, missing, parse_manifests, parse_releases

TABLE = """
nemo-datastore  sh.helm.release.v1.nemo.v9   helm.sh/release.v1  1  3d  nemo   deployed         9
nemo-datastore  sh.helm.release.v1.nemo.v8   helm.sh/release.v1  1  3d  nemo   superseded       8
nemo-datastore  sh.helm.release.v1.nemo.v10  helm.sh/release.v1  1  1h  nemo   pending-upgrade  10
mlflow          sh.helm.release.v1.ml.v1     helm.sh/release.v1  1  1h  ml     deployed         1
No resources found
"""
MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web}
---
# of a template that rendered nothing
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: elsewhere}
"""


def test_latest_and_deployed_revision_of_each_release() -> None:
    found = [(r.namespace, r.name, r.status, r.revision, r.deployed) for r in parse_releases(TABLE)]
    assert found == [("mlflow", "ml", "deployed", 1, 1), ("nemo-datastore", "nemo", "pending-upgrade", 10, 9)]


@pytest.mark.parametrize(
    ("status", "revision", "deployed", "command"),
    [
        ("pending-install", 1, None, "helm uninstall nemo -n data"),
        ("pending-upgrade", 10, 9, "helm rollback nemo 9 -n data"),
        ("pending-upgrade", 2, None, "helm rollback nemo 1 -n data"),  # after an installation that failed
        ("pending-rollback", 11, 9, "helm rollback nemo 9 -n data"),
        ("uninstalling", 9, None, "helm uninstall nemo -n data"),
    ],
)
def test_what_was_interrupted_has_one_way_out(status: str, revision: int, deployed: int | None, command: str) -> None:
    release = Release(namespace="data", name="nemo", status=status, revision=revision, deployed=deployed)
    assert release.is_half_done
    assert release.way_out == command


@pytest.mark.parametrize("status", ["deployed", "failed", "superseded"])
def test_what_has_ended_is_not_half_done(status: str) -> None:
    assert not Release(namespace="data", name="nemo", status=status, revision=3).is_half_done


def test_objects_of_a_release_are_those_of_its_record() -> None:
    record = gzip.compress(json.dumps({"manifest": MANIFEST}).encode())
    packed = base64.b64encode(base64.b64encode(record)).decode()
    held = parse_manifests([f"data nemo {packed}", "data broken bm8gcmVjb3Jk", "", "data empty"])
    assert held == {("data", "nemo"): {("Service", "data", "web"), ("Deployment", "elsewhere", "web")}}


def test_only_kinds_that_were_looked_for_are_missed() -> None:
    held = {("Service", "data", "web"), ("Deployment", "data", "web"), ("ConfigMap", "data", "web")}
    assert missing(held, {("Service", "data", "web")}, ["Service", "Deployment"]) == [("Deployment", "data", "web")]
