"""The models that are measured, made on the spot: a Llama of a given shape with random weights, and adapters for it.

The tokenizer is that of another model, filled up with made-up words to the size of the vocabulary. Nothing is
downloaded.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama model."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Name -> inputs and outputs of the linear layers of one block."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "self_attn.q_proj": (self.hidden, queries),
            "self_attn.k_proj": (self.hidden, keys),
            "self_attn.v_proj": (self.hidden, keys),
            "self_attn.o_proj": (queries, self.hidden),
            "mlp.gate_proj": (self.hidden, self.inner),
            "mlp.up_proj": (self.hidden, self.inner),
            "mlp.down_proj": (self.inner, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Parameters of the linear layers of all blocks, without embeddings."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_layers().values())

    def lora_parameters(self, rank: int) -> int:
        """Parameters of an adapter on all of them."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.linear_layers().values())


LLAMA_3B = Shape("llama-3.2-3b-shape", 3072, 8192, 28, 24, 8, 128, 128256)
TINY = Shape("tiny-shape", 256, 512, 2, 4, 2, 64, 6400)


def config_of(shape: Shape) -> Any:
    """Make transformers' configuration."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        dtype="bfloat16",
        bos_token_id=1,
        eos_token_id=2,
    )
    config.architectures = ["LlamaForCausalLM"]
    return config


def write_shell(shape: Shape, folder: Path, tokenizer_of: Path) -> Path:
    """Write configuration and tokenizer, without weights: enough for vLLM's `--load-format dummy`."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    config_of(shape).save_pretrained(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    missing = shape.vocabulary - len(tokenizer)
    tokenizer.add_tokens([f" w{number}" for number in range(missing)])
    tokenizer.save_pretrained(str(folder))
    return folder


def write_weights(shape: Shape, shell: Path, folder: Path, device: str) -> Path:
    """Write a model with random weights: what is in `shell`, and one file of weights in bf16."""
    import torch
    from transformers import AutoModelForCausalLM

    shutil.copytree(shell, folder, dirs_exist_ok=True)
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(config_of(shape), dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.save_pretrained(str(folder), max_shard_size="100GB")
    del model
    if device == "cuda":
        torch.cuda.empty_cache()
    return folder


def write_adapters(shape: Shape, folder: Path, count: int, rank: int) -> Iterator[Path]:
    """Write adapters of random matrices, all with the same values: only their number matters for speed."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in range(shape.layers):
        for name, (inputs, outputs) in shape.linear_layers().items():
            stem = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{stem}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator).mul(0.01).bfloat16()
            tensors[f"{stem}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator).mul(0.001).bfloat16()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(name.rpartition(".")[2] for name in shape.linear_layers()),
        "base_model_name_or_path": shape.name,
    }
    first: Path | None = None
    for number in range(count):
        place = folder / f"adapter-{number}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "adapter_config.json").write_text(json.dumps(config))
        weights = place / "adapter_model.safetensors"
        if first is None:
            save_file(tensors, weights)
            first = weights
        elif not weights.exists():
            weights.hardlink_to(first)
        yield place
