"""Adapters for the NIM's tests: made with PEFT, put into the Data Store, announced in the Entity Store."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from embedded.nim.adapter_cache import CONFIG, WEIGHTS
from tests.base_model import MODEL_ID as BASE
from tests.base_model import WEIGHTS as MODEL

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_adapter(folder: Path, seed: int, *, rank: int = 8) -> Path:
    """Write an adapter of random matrices, strong enough to change every answer of the base model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=TARGETS, init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(model, config).save_pretrained(str(folder))
    return folder


def write_config(folder: Path, **changes: Any) -> Path:
    """Write an adapter_config.json alone, as PEFT would for rank 8."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": TARGETS, **changes}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def write_weights(folder: Path, layer: str, *, rank: int, inputs: int, outputs: int) -> Path:
    """Write LoRA matrices of zeros for one layer."""
    import numpy as np
    from safetensors.numpy import save_file

    stem = f"base_model.model.{layer}"
    tensors = {
        f"{stem}.lora_A.weight": np.zeros((rank, inputs), np.float32),
        f"{stem}.lora_B.weight": np.zeros((outputs, rank), np.float32),
    }
    save_file(tensors, folder / WEIGHTS)
    return folder


@dataclass
class Stores:
    """The two stores as the Customizer uses them."""

    hub: HfApi
    sdk: NeMoMicroservices

    def announce(
        self, namespace: str, name: str, *, status: str = "created", base_model: Any = BASE, kind: str = "lora"
    ) -> str:
        """Create the model entity; returns the id under which NIM will serve it."""
        repo, _, branch = name.partition("@")
        files_url = f"hf://models/{namespace}/{repo}@{branch or 'main'}"
        body: dict[str, Any] = {
            "peft": {"finetuning_type": kind},
            "artifact": {"files_url": files_url, "status": status},
            "base_model": base_model,
        }
        self.sdk.models.create(namespace=namespace, name=name, **body)
        return f"{namespace}/{name}"

    def upload(self, namespace: str, name: str, folder: Path) -> None:
        """Put the files on the branch that the entity's artifact names."""
        repo, _, branch = name.partition("@")
        self.hub.create_repo(f"{namespace}/{repo}", exist_ok=True)
        if branch:
            self.hub.create_branch(f"{namespace}/{repo}", branch=branch, exist_ok=True)
        self.hub.upload_folder(repo_id=f"{namespace}/{repo}", folder_path=folder, revision=branch or "main")

    def complete(self, namespace: str, name: str) -> None:
        """Say that the upload has ended, as the Customizer does last."""
        repo, _, branch = name.partition("@")
        url = f"hf://models/{namespace}/{repo}@{branch or 'main'}"
        self.sdk.models.update(name, namespace=namespace, artifact={"files_url": url, "status": "upload_completed"})

    def publish(self, namespace: str, name: str, folder: Path) -> str:
        """Announce, upload and complete; returns the id."""
        adapter_id = self.announce(namespace, name)
        self.upload(namespace, name, folder)
        self.complete(namespace, name)
        return adapter_id
