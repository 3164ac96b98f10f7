"""Settings of the NIM service. Imports nothing heavy: a wrong config is refused before vLLM is loaded."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from embedded.common.service import ServiceSettings


class Settings(ServiceSettings):
    """One base model, and where its adapters come from."""

    base_model: str = Field(
        min_length=1, description="Model id that clients name, e.g. HuggingFaceTB/SmolLM2-135M-Instruct"
    )
    model_path: str = Field(min_length=1, description="Folder of the model in Hugging Face layout, or a Hub id")
    entity_store_url: str | None = Field(
        default=None, description="Where adapters are announced; no trailing slash, no /v1"
    )
    data_store_url: str | None = Field(default=None, description="Where adapters' files lie; no trailing slash, no /v1")
    peft_source: Path | None = Field(
        default=None, description="Folder with a folder of each adapter, which others fill; in place of the two stores"
    )
    refresh_interval_s: float = Field(default=2.0, gt=0, description="Seconds between two looks for adapters")
    max_loras: int = Field(default=4, ge=1, description="Adapters in one batch; each more costs memory and some speed")
    max_cpu_loras: int = Field(default=16, ge=1, description="Adapters in memory; the least used are read again later")
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = Field(default=32, description="Adapters above it are refused")
    lora_layers: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="Linear layers that adapters may change. Never the embeddings or the head: with the head among "
        "them vLLM's engine dies on a CPU when one of several requests asks for log probabilities of its prompt",
    )
    max_model_len: int = Field(default=2048, ge=16, description="Prompt and completion together, tokens")
    max_num_seqs: int = Field(default=64, ge=1, description="Requests decoded at the same time")
    max_num_batched_tokens: int = Field(default=2048, ge=64, description="Tokens in one engine step")
    kv_cache_mib: int | None = Field(
        default=None, ge=16, description="Memory for the KV cache; default: 512 on a CPU, else what the fraction leaves"
    )
    accelerator: Literal["cpu", "cuda"] = Field(default="cpu", description="What computes")
    gpus: tuple[int, ...] = Field(default=(), description="Numbers of the GPUs that share the model (tensor parallel)")
    gpu_memory_fraction: float = Field(
        default=0.9, gt=0, le=0.98, description="Part of each GPU's memory for weights, activations and KV cache"
    )
    load_format: Literal["auto", "dummy"] = Field(
        default="auto", description="dummy: random weights in place of the model's own, for benchmarks on a GPU"
    )
    tool_call_parser: str | None = Field(
        default=None, description="vLLM's name of the parser for calls of tools; default: chosen by the chat template"
    )
    dtype: Literal["bfloat16", "float32"] | None = Field(
        default=None, description="Weights and arithmetic; default: bfloat16 where the processor multiplies it"
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads of the engine; default: OMP_NUM_THREADS, else all cores, with a GPU 1"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="vLLM's and ours")

    @property
    def engine_threads(self) -> int:
        """Threads the engine computes with. A GPU's engine only launches kernels."""
        if self.threads or self.accelerator == "cuda":
            return self.threads or 1
        asked = os.environ.get("OMP_NUM_THREADS", "")
        return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0))

    @model_validator(mode="after")
    def _adapters_come_from_somewhere(self) -> "Settings":
        stores = (self.entity_store_url, self.data_store_url)
        if (None in stores) == (self.peft_source is None) or (self.peft_source and any(stores)):
            raise ValueError("expected either entity_store_url and data_store_url, or peft_source alone")
        return self

    @model_validator(mode="after")
    def _has_a_gpu(self) -> "Settings":
        if (self.accelerator == "cuda") != bool(self.gpus):
            raise ValueError(f"gpus={list(self.gpus)}: expected GPUs with accelerator=cuda, and none with cpu")
        return self

    @model_validator(mode="after")
    def _adapters_can_be_served(self) -> "Settings":
        if heads := {"lm_head", "embed_tokens"} & set(self.lora_layers):
            raise ValueError(f"lora_layers: {sorted(heads)} cannot be adapted here")
        if self.max_cpu_loras < self.max_loras:
            raise ValueError(f"max_cpu_loras={self.max_cpu_loras} is below max_loras={self.max_loras}")
        return self
