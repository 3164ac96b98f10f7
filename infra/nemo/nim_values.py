"""The specification of one NIM: values of the chart nim-llm, or specs of NIMCache and NIMService. Pure.

Key names were read in public copies of nim-llm 1.13.1 (the pinned version is newer: UNVERIFIED that no key changed)
and in the NIM operator's CRDs. Both ways end in a Service called like the NIM on port 8000, with the label by which
the NIM proxy finds it. Neither way knows topology spread constraints; a preference to be apart does the same job.
"""

import hashlib
import json
from typing import Any

from infra import names
from infra.config.nemo import Nim, NimAutoscaling, NimLora
from infra.nemo.values import Surroundings
from infra.topology import Topology
from infra.topology.addresses import Addresses
from infra.topology.placement import Placement

Values = dict[str, Any]

PROXY_LABELS = {"app.nvidia.com/nim-type": "inference"}
ADAPTERS = "adapters"
"""Name of the volume with LoRA adapters."""
PROBE_PERIOD_S = 10
TOPOLOGY = {"zone": "topology.kubernetes.io/zone", "node": "kubernetes.io/hostname"}
REQUESTS = {"cpu": "2", "memory": "8Gi"}
"""What a NIM requests besides GPUs: our estimate for models up to 8B, on purpose small enough for the smallest nodes
in the table of machines, which have 8 CPUs and 32 GB."""


def pod_labels(nim: Nim) -> dict[str, str]:
    """Labels that the pods of a NIM have, by whichever way it is deployed."""
    if nim.deploy == "operator":
        return {"app": nim.name}
    if nim.deploy == "platform":
        return {"nmp.nvidia.com/deployment-name": nim.name, "nmp.nvidia.com/models-role": "server"}
    return {"app.kubernetes.io/name": "nim-llm", "app.kubernetes.io/instance": nim.name}


def chart_values(topology: Topology, nim: Nim, around: Surroundings) -> Values:
    """Values of chart nim-llm.

    Always a StatefulSet, also where all replicas share a volume: it replaces a pod in place, where a Deployment would
    first want one more GPU. With ReadWriteOnce each replica gets a volume of its own.
    """
    scaled, placement = nim.autoscaling, topology.placement
    values: Values = {
        "fullnameOverride": nim.name,
        "image": {"repository": nim.image, "tag": nim.tag},
        "imagePullSecrets": [{"name": around.credentials.pull}],
        "model": {
            "name": nim.model,
            "ngcAPISecret": around.credentials.ngc,
            "openaiPort": names.NIM_PORT,
            **({"hfTokenSecret": around.credentials.hf} if around.credentials.hf else {}),
        },
        "service": {"name": nim.name, "openaiPort": names.NIM_PORT, "labels": PROXY_LABELS},
        "serviceAccount": {"create": False, "name": nim.name},  # ours, without a token
        "statefulSet": {"enabled": True},
        "env": environment(topology.addresses, nim),
        "resources": resources(placement, nim),
        "nodeSelector": dict(placement.nims[nim.name].selector),
        "tolerations": placement.tolerations,
        "affinity": affinity(nim),
        "startupProbe": {"periodSeconds": PROBE_PERIOD_S, "failureThreshold": startup_failures(nim)},
        "persistence": chart_volume(nim, around),
        "podSecurityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
        "containerSecurityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "metrics": {"serviceMonitor": {"enabled": False}},  # ours is in monitoring.py: the chart's counts pods twice
        "ingress": {"enabled": False},
    }
    if nim.lora and nim.lora.existing_claim:
        values["extraVolumes"] = {ADAPTERS: {"persistentVolumeClaim": {"claimName": nim.lora.existing_claim}}}
        values["extraVolumeMounts"] = {ADAPTERS: {"mountPath": nim.lora.peft_source}}
    if scaled:
        values["autoscaling"] = {
            "enabled": True,
            "minReplicas": scaled.min,
            "maxReplicas": scaled.max,
            "metrics": metrics(scaled),
        }
    else:
        values["replicaCount"] = nim.replicas
    return values


def chart_volume(nim: Nim, around: Surroundings) -> Values:
    """The cache of a NIM from the chart. It outlives the release: filling it again takes long."""
    cache = nim.cache
    if cache.existing_claim:
        return {"enabled": True, "existingClaim": cache.existing_claim}
    return {
        "enabled": True,
        "size": cache.size,
        "accessMode": cache.access_mode,
        "storageClass": volume_class(nim, around),
        "annotations": {"helm.sh/resource-policy": "keep"},
    }


def cache_spec(placement: Placement, nim: Nim, around: Surroundings) -> Values:
    """Spec of the NIMCache, whose job fills the volume before the NIM starts.

    The job stands on the same taints as the NIM.
    """
    cache = nim.cache
    volume: Values = {"create": True, "size": cache.size, "volumeAccessMode": cache.access_mode}
    if storage_class := volume_class(nim, around):
        volume["storageClass"] = storage_class
    if cache.existing_claim:
        volume = {"create": False, "name": cache.existing_claim}
    source: Values = {
        "modelPuller": f"{nim.image}:{nim.tag}",
        "pullSecret": around.credentials.pull,
        "authSecret": around.credentials.ngc,
    }
    values: Values = {
        "source": {"ngc": source | {"model": cached_profiles(nim)}},
        "storage": {"pvc": volume},
        "tolerations": placement.tolerations,
    }
    if (selector := placement.nims[nim.name].cache_selector) is not None:
        values["nodeSelector"] = dict(selector)
    return values


def cached_profiles(nim: Nim) -> Values:
    """Return which profiles of the image the job downloads.

    The operator downloads every profile that matches, and compares the number of GPUs and the engine only where they
    are given: with less said the engines of all GPUs and numbers of GPUs land on the volume. Its webhook takes names of
    profiles alone.
    """
    if nim.cache.profiles:
        return {"profiles": list(nim.cache.profiles)}
    model: Values = {"tensorParallelism": str(nim.gpus)}
    if nim.lora:
        model["lora"] = True
    if nim.cache.engine:
        model["engine"] = nim.cache.engine
    return model


def cache_name(nim: Nim, spec: Values) -> str:
    """Return the name of the NIMCache with this spec.

    The operator refuses every change of a NIMCache. With its content in the name, a change makes another one: Pulumi
    fills it, switches the NIMService to it and then deletes the old one with its volume. The operator appends to the
    name where it names a job, whose names end at 63 characters.
    """
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    return f"{nim.name[:45]}-{digest[:8]}"


def service_spec(topology: Topology, nim: Nim, around: Surroundings) -> Values:
    """Spec of the NIMService. `replicas` is absent where the autoscaler decides: the operator refuses both."""
    placement = topology.placement
    probe = {
        "httpGet": {"path": names.NIM_HEALTH, "port": "api"},  # the operator's name of the port
        "initialDelaySeconds": 40,
        "periodSeconds": PROBE_PERIOD_S,
        "timeoutSeconds": 1,
        "failureThreshold": startup_failures(nim),
    }
    values: Values = {
        "image": {
            "repository": nim.image,
            "tag": nim.tag,
            "pullPolicy": "IfNotPresent",
            "pullSecrets": [around.credentials.pull],
        },
        "authSecret": around.credentials.ngc,
        "storage": {"nimCache": {"name": cache_name(nim, cache_spec(placement, nim, around))}},
        "env": environment(topology.addresses, nim),
        "resources": resources(placement, nim),
        "tolerations": placement.tolerations,
        "labels": PROXY_LABELS,  # the operator puts them on the Service
        "startupProbe": {"enabled": True, "probe": probe},
        "expose": {"service": {"type": "ClusterIP", "name": nim.name, "port": names.NIM_PORT, "labels": PROXY_LABELS}},
    }
    if selector := placement.nims[nim.name].selector:
        values["nodeSelector"] = dict(selector)
    if spread := affinity(nim):
        values["affinity"] = spread
    if scaled := nim.autoscaling:
        hpa = {"minReplicas": scaled.min, "maxReplicas": scaled.max, "metrics": metrics(scaled)}
        values["scale"] = {"enabled": True, "hpa": hpa}
    else:
        values["replicas"] = nim.replicas
    return values


def environment(addresses: Addresses, nim: Nim) -> list[dict[str, str]]:
    """Environment of the container; what the user says comes last and wins."""
    variables: dict[str, str] = {}
    if nim.lora:
        variables |= adapters(addresses, nim.lora)
    if nim.relax_memory:
        variables["NIM_RELAX_MEM_CONSTRAINTS"] = "1"
    return [{"name": key, "value": value} for key, value in (variables | nim.env).items()]


def adapters(addresses: Addresses, lora: NimLora) -> dict[str, str]:
    """Environment that makes a NIM load adapters: from where, how often it looks, how many at once."""
    by_service = lora.peft_source == "entity-store"
    return {
        "NIM_PEFT_SOURCE": addresses.url(names.ENTITY_STORE) if by_service else lora.peft_source,
        "NIM_PEFT_REFRESH_INTERVAL": str(lora.refresh_interval_s),
        "NIM_MAX_GPU_LORAS": str(lora.max_gpu_loras),
        "NIM_MAX_CPU_LORAS": str(lora.max_cpu_loras),
        "NIM_MAX_LORA_RANK": str(lora.max_rank),
    }


def resources(placement: Placement, nim: Nim) -> Values:
    """GPUs as request and limit, which Kubernetes wants equal; CPU and memory as request only."""
    gpus = {placement.nims[nim.name].resource: str(nim.gpus)}
    return {"requests": REQUESTS | gpus, "limits": gpus}


def affinity(nim: Nim) -> Values:
    """Keep replicas in different zones or on different nodes, as far as there are some."""
    if nim.topology_spread is None:
        return {}
    term = {"labelSelector": {"matchLabels": pod_labels(nim)}, "topologyKey": TOPOLOGY[nim.topology_spread]}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def metrics(scaled: NimAutoscaling) -> list[Values]:
    """Metrics of the autoscaler. They come through a custom-metrics adapter, which we do not install."""
    target = {"type": "AverageValue", "averageValue": scaled.target}
    return [{"type": "Pods", "pods": {"metric": {"name": scaled.metric}, "target": target}}]


def volume_class(nim: Nim, around: Surroundings) -> str:
    """Storage class of the cache, empty for the default."""
    return around.shared_class if nim.cache.access_mode == "ReadWriteMany" else around.storage_class or ""


def startup_failures(nim: Nim) -> int:
    """Failed probes that make up the startup window."""
    return nim.startup_minutes * 60 // PROBE_PERIOD_S
