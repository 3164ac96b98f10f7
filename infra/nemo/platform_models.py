"""What the NeMo Platform is told of the stack's NIMs: model entities, deployments, providers. Pure.

A NIM with `deploy: platform` becomes a deployment, which the platform's models controller turns into pods; another one
runs already, and becomes a provider. Either way the gateway serves it. Bodies are those of the platform's API in
version 0.3.0 (`/apis/models/v2`), which register_models.py sends from within the cluster.
"""

import hashlib
import json
from typing import Any

from infra.config.nemo import Nim
from infra.nemo.nim_values import REQUESTS
from infra.topology import Topology
from nemostack.entity_names import WORKSPACE, entity_name

Body = dict[str, Any]

OPERATORS_KEY = "k8s_nim_operator_config"
"""The API's name for tolerations and the like, although no operator is needed any more."""


def registrations(nims: tuple[Nim, ...], topology: Topology) -> list[Body]:
    """Return what the platform shall know of each NIM, in order."""
    return [deployment(nim, topology) if nim.deploy == "platform" else provider(nim, topology) for nim in nims]


def provider(nim: Nim, topology: Topology) -> Body:
    """Return a NIM that runs already."""
    body = {"name": nim.name, "host_url": topology.addresses.url(nim), "description": "NIM of this stack"}
    return {"kind": "provider", "entity": entity(nim), "provider": body}


def entity(nim: Nim) -> Body:
    """Return the base model as the platform knows it. Its files are the NIM's own: there is no fileset."""
    description = f"base model {nim.model} of the NIM {nim.name}"
    return {"name": entity_name(nim.model), "description": description, "backend_format": "OPENAI_CHAT"}


def deployment(nim: Nim, topology: Topology) -> Body:
    """Return a NIM that the platform deploys.

    A change makes another deployment config, which a deployment is switched to: configs cannot be changed.
    """
    placement = topology.placement
    operators: Body = {
        "resources": {"requests": dict(REQUESTS)},
        "tolerations": placement.tolerations,
        "startup_probe_grace_seconds": nim.startup_minutes * 60,
    }
    if selector := dict(placement.nims[nim.name].selector):
        operators["node_selector"] = selector
    config: Body = {
        "engine": "nim",
        "model_entity_id": f"{WORKSPACE}/{entity_name(nim.model)}",
        # the id by which NIM serves it, which is the one of the gateway too
        "model_spec": {
            "model_namespace": WORKSPACE,
            "model_name": entity_name(nim.model),
            "lora_enabled": nim.lora is not None,
        },
        "executor_config": {
            "gpu": nim.gpus,
            "disk_size": nim.cache.size,
            "image_name": nim.image,
            "image_tag": nim.tag,
            "additional_envs": environment(nim),
            OPERATORS_KEY: operators,
        },
    }
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{nim.name}-{digest}"
    return {
        "kind": "deployment",
        "entity": entity(nim),
        "config": {"name": name, **config},
        "deployment": {"name": nim.name, "config": name},
    }


def environment(nim: Nim) -> dict[str, str]:
    """Environment of the container; what the user says comes last and wins. Where adapters are the platform says."""
    variables: dict[str, str] = {}
    if nim.lora:
        variables["NIM_MAX_GPU_LORAS"] = str(nim.lora.max_gpu_loras)
        variables["NIM_MAX_CPU_LORAS"] = str(nim.lora.max_cpu_loras)
        variables["NIM_MAX_LORA_RANK"] = str(nim.lora.max_rank)
    if nim.relax_memory:
        variables["NIM_RELAX_MEM_CONSTRAINTS"] = "1"
    return variables | nim.env
