"""Manifests: only the pinned content is used, it is downloaded once, a mirror takes the place of the internet."""

import hashlib
import io
import urllib.error
import urllib.request
from typing import Any

import pulumi
import pytest
import yaml

from infra.platform import manifests
from infra.versions import MANIFESTS, Manifest

CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.example.com"},
    "spec": {
        "group": "example.com",
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "description": "long text",
                        "properties": {"description": {"type": "string", "description": "more text"}},
                    }
                },
            }
        ],
    },
    "status": {"conditions": []},
}
CONTENT = yaml.safe_dump_all([None, CRD, {"kind": "ValidatingAdmissionPolicy"}]).encode()
PINNED = Manifest(file="things.yaml", url="https://example.com/things.yaml", sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def internet(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked: list[str] = []

    def answer(url, timeout):
        asked.append(url)
        if isinstance(there[url], Exception):
            raise there[url]
        return io.BytesIO(there[url])

    there: dict[str, Any] = {PINNED.url: CONTENT}
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    return asked, there


def test_downloaded_once(internet):
    asked, _ = internet
    assert manifests.read(PINNED) == manifests.read(PINNED) == CONTENT
    assert asked == [PINNED.url]


def test_a_spoilt_cache_is_not_used(internet):
    asked, _ = internet
    manifests.read(PINNED)
    (kept,) = manifests.cache().iterdir()
    kept.write_bytes(b"half")
    assert manifests.read(PINNED) == CONTENT
    assert len(asked) == 2


def test_changed_content_is_refused_and_not_kept(internet):
    _, there = internet
    there[PINNED.url] = CONTENT + b"---\nkind: Evil\n"
    with pytest.raises(pulumi.RunError, match=r"things\.yaml has changed: sha256 \w{64} instead of .*adopt"):
        manifests.read(PINNED)
    assert not manifests.cache().exists()


def test_without_internet_the_remedy_is_said(internet):
    _, there = internet
    there[PINNED.url] = urllib.error.URLError("no route")
    with pytest.raises(pulumi.RunError, match=r"cannot be downloaded: .*no route.*charts\.source as things\.yaml"):
        manifests.read(PINNED)


def test_a_mirror_is_used_instead(internet, tmp_path):
    asked, _ = internet
    (tmp_path / "things.yaml").write_bytes(b"mine")
    assert manifests.read(PINNED, tmp_path) == b"mine"
    with pytest.raises(pulumi.RunError, match=r"charts\.source: .*none/things\.yaml cannot be read"):
        manifests.read(PINNED, tmp_path / "none")
    assert asked == []


def test_definitions_lose_texts_and_nothing_else():
    (found,) = manifests.definitions(CONTENT)
    assert set(found) == {"metadata", "spec"}
    schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema == {"properties": {"description": {"type": "string"}}}


def test_each_pinned_manifest_is_one_kind_of_the_version_that_the_chart_is_built_for():
    assert len({manifest.sha256 for manifest in MANIFESTS}) == len({manifest.file for manifest in MANIFESTS}) == 24
    assert all(manifest.url.endswith(manifest.file) for manifest in MANIFESTS)
    assert {"/".join(manifest.url.split("/")[3:6]) for manifest in MANIFESTS} == {
        "kubernetes-sigs/gateway-api/v1.6.1",
        "envoyproxy/gateway/v1.9.0",
        "envoyproxy/ai-gateway/v1.1.0",
    }
