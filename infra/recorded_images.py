"""Images of charts behind a login, for a mirror that is made before anybody here could pull the chart.

They were read by `nemostack images` in a public copy of the chart, with this program's values. A list ages: it holds
for the version that it was read in. Refuses other versions of the umbrella chart. Of `nim-llm`, whose pinned version
nobody published, it has what two older ones pull alike, and says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra import versions
from infra.images import ChartUse
from infra.versions import Chart
from nemostack.errors import Unhealthy

NVIDIA = "nvcr.io/nvidia/nemo-microservices"
MODEL_PULLER = f"{NVIDIA}/nds-v2-huggingface-cli:25.12"
LEGACY = "docker.io/bitnamilegacy/postgresql"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a version of a chart pulls: alias of a part -> its images, and that of the database that it can bring."""

    chart: Chart
    parts: Mapping[str, tuple[str, ...]]
    databases: Mapping[str, str]


# Read in the archive of 25.12.0 that github.com/ai-solution-eng/frameworks kept from 13 January 2026 on (9ba4913).
UMBRELLA = Recorded(
    chart=versions.NEMO,
    parts={
        "data-store": (f"{NVIDIA}/datastore:25.12",),
        "entity-store": (f"{NVIDIA}/entity-store:25.12", "busybox:latest"),
        "customizer": (
            *(f"{NVIDIA}/{name}:25.12" for name in ("customizer-api", "customizer", "customizer-automodel")),
            *(f"{NVIDIA}/customizer-rl:25.12", MODEL_PULLER),
        ),
        "nemo-operator": (f"{NVIDIA}/nemo-operator:25.12", f"{versions.KUBE_RBAC_PROXY}:v0.15.0"),
        "evaluator": (f"{NVIDIA}/evaluator:25.12", "busybox:latest"),
        "core": (
            *(f"{NVIDIA}/nmp-core:25.12", MODEL_PULLER, "nvcr.io/nim/nvidia/llm-nim:1.14.1"),
            *("busybox:latest", "busybox:1.35", "fluent/fluent-bit:4.0.7"),
        ),
        "guardrails": (f"{NVIDIA}/guardrails:25.12", "busybox:latest"),
        "deployment-management": (f"{NVIDIA}/deployment-management:25.12", f"{NVIDIA}/nds-v2-huggingface-cli:25.06"),
        "nim-proxy": (f"{NVIDIA}/nim-proxy:25.12",),
    },
    databases={
        **dict.fromkeys(("data-store", "entity-store", "customizer"), f"{LEGACY}:16.1.0-debian-11-r20"),
        "evaluator": f"{LEGACY}:16.2.0-debian-11-r1",
        "core": f"{LEGACY}:17.2.0-debian-12-r1",
        "guardrails": f"{LEGACY}:17.4.0-debian-12-r14",
    },
)

NIM_LLM_READ = "1.7.0-rc1 and 1.13.1"
"""Versions in public copies of the umbrella chart: with our values both pull the NIM's image and no other."""


# Read in k8s/helm of github.com/NVIDIA-NeMo/nemo-platform (d478469) and, for those of jobs and of models that it
# deploys, in the package nemo-platform 0.3.0. The image of training is that of the chart's own test of NCCL.
NEMO_PLATFORM = "nvcr.io/nvidia/nemo-platform"
PLATFORM_JOBS = (
    *("nmp-cpu-tasks", "nmp-customizer-tasks", "nmp-automodel-training", "auditor-tasks", "safe-synthesizer-tasks"),
)
BUSYBOX = ("docker.io/library/busybox:stable", "docker.io/library/busybox:latest")
"""For the permissions of the jobs' volume, and for the folder of a model's adapters."""
PLATFORM_ENVOY = "docker.io/envoyproxy/envoy:v1.37.0"
PLATFORM_POSTGRES = "docker.io/library/postgres:18"


def platform_images(use: ChartUse, version: str) -> set[str]:
    """Return the images of a release of the NeMo Platform."""
    images = {f"{NEMO_PLATFORM}/{name}:{version}" for name in ("nmp-api", *PLATFORM_JOBS)} | set(BUSYBOX)
    if use.values["envoyProxy"]["enabled"]:
        images.add(PLATFORM_ENVOY)
    return images | ({PLATFORM_POSTGRES} if use.values["postgresql"]["enabled"] else set())


def recorded_images(use: ChartUse, version: str) -> set[str]:
    """Return the images of a release whose chart cannot be rendered. Raises Unhealthy where they are not known."""
    if use.chart == versions.NEMO_PLATFORM and version == use.chart.version:
        return platform_images(use, version)
    where = f"chart {use.chart.name} {version} of release {use.namespace}/{use.name} is behind a login"
    way_out = "`helm pull` it into a folder and name that as charts.source"
    if use.chart == versions.NEMO_PLATFORM:
        raise Unhealthy(f"{where}, and only the images of {use.chart.version} are known: {way_out}")
    if use.chart == versions.NIM_LLM:
        image = use.values["image"]
        return {f"{image['repository']}:{image['tag']}"}
    if use.chart != UMBRELLA.chart:
        raise Unhealthy(f"{where}, and no list of its images is known: {way_out}")
    if version != UMBRELLA.chart.version:
        raise Unhealthy(f"{where}, and only the images of {UMBRELLA.chart.version} are known: {way_out}")
    parts = {
        alias: part for alias, part in use.values.items() if isinstance(part, dict) and part.get("enabled") is True
    }
    if unknown := sorted(parts.keys() - UMBRELLA.parts.keys()):
        raise Unhealthy(f"{where}, and the images of {', '.join(unknown)} are not known: {way_out}")
    images = {image for alias in parts for image in UMBRELLA.parts[alias]}
    return images | {UMBRELLA.databases[alias] for alias, part in parts.items() if _brings_database(part)}


def reservation(use: ChartUse, version: str) -> str | None:
    """Return what has to be known about the recorded images of a release, None for nothing."""
    if use.chart != versions.NIM_LLM or version in NIM_LLM_READ.split(" and "):
        return None
    return f"chart nim-llm {version} is behind a login: its images are those of {NIM_LLM_READ}, that of the NIM alone"


def _brings_database(part: Mapping[str, Any]) -> bool:
    return "postgresql" in part and part["postgresql"].get("enabled") is not False
