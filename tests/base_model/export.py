"""Write a trained network as a transformers folder that vLLM serves too."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.base_model.network import Network, Shape


def export(network: Network, shape: Shape, folder: Path) -> Path:
    """Write weights in bfloat16 with their configuration; the tokenizer is written by `tokenizer.save`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"model.{name.replace('_orig_mod.', '')}": parameter.detach().to(torch.bfloat16).cpu().contiguous()
        for name, parameter in network.named_parameters()
    }
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    _write_json(folder / "config.json", shape.as_config())
    generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "do_sample": False, "max_new_tokens": 96}
    _write_json(folder / "generation_config.json", generation)
    return path


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
