"""Preparations that only vLLM on a CPU needs, before its engine is started. Not imported where there is a GPU."""

import os

from vllm.v1.engine import core as _core  # noqa: F401 - for the child, which is forked after the imports
from vllm.v1.executor import uniproc_executor as _executor  # noqa: F401
from vllm.v1.worker import cpu_worker as _worker  # noqa: F401

from embedded.nim import lora_kernel


def prepare() -> None:
    """Let the engine be forked from this process, with our LoRA products. Call once its config has been created."""
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"  # creating the config has set "spawn"
    lora_kernel.install()
