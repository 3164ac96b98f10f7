"""Settings of stacks on clusters that work, to be changed by tests, and the refusal of those that do not."""

import json
from typing import Any

import pytest

from infra import config
from infra.config.nemo import LLAMA_3_2_3B

A100 = {"name": "a100", "gpu": "A100-80GB", "count": 1, "max": 2}
L4 = {"name": "l4", "gpu": "L4", "count": 1}
P5 = {"name": "p5", "machine": "p5.4xlarge", "max": 2}
CLOUDS: dict[str, dict[str, Any]] = {
    "gke": {"project": "acme-1", "location": "us-central1-a", "gpu_pools": [A100]},
    "eks": {"region": "us-east-1", "gpu_pools": [P5]},
    "aks": {"location": "eastus2", "resource_group": "acme", "gpu_pools": [A100]},
}
RWX = {"rwx_class_name": "nfs"}
LLAMA = LLAMA_3_2_3B.model_dump()
TEMPLATE = LLAMA["templates"][0]
NIM = {"name": "llama", "model": "meta/llama-3.2-3b-instruct", "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct"}


def load(target: str, *, secrets: tuple[str, ...] = ("ngc_api_key",), **sections: Any) -> Any:
    """Load a stack of `target` that works, with `sections` changed."""
    if target in CLOUDS:
        sections[target] = CLOUDS[target] | sections.get(target, {})
    elif target == "existing":
        sections["storage"] = RWX | sections.get("storage", {})
    raw = {
        f"nemostack:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in sections.items()
    }
    return config.load({"nemostack:target": target, **raw, **{f"nemostack:{key}": "s3cr3t" for key in secrets}})


def refusal(target: str, **sections: Any) -> list[str]:
    with pytest.raises(config.SettingsError) as refused:
        load(target, **sections)
    return str(refused.value).splitlines()
