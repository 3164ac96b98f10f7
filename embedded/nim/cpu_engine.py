"""Preparations that only vLLM on a CPU needs, before its engine is started. Not imported where there is a GPU."""

import os
from collections.abc import Callable
from typing import Any

from vllm.v1.engine import core as _core  # noqa: F401 - for the child, which is forked after the imports
from vllm.v1.executor import uniproc_executor as _executor  # noqa: F401
from vllm.v1.worker import cpu_worker as _worker  # noqa: F401
from vllm.v1.worker.cpu_model_runner import CPUModelRunner

from embedded.nim import lora_kernel

_vllm_sample_tokens: Callable[..., Any] = CPUModelRunner.sample_tokens


def prepare() -> None:
    """Let the engine be forked from this process, with what we change in it. Call once its config has been created."""
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"  # creating the config has set "spawn"
    lora_kernel.install()
    setattr(CPUModelRunner, "sample_tokens", _sample_tokens)  # noqa: B010 - for mypy


def _sample_tokens(runner: Any, grammar_output: Any) -> Any:
    """Sample as vLLM does, but leave alone the generators of seeded requests whose prompts are not read to the end yet.

    vLLM samples for them as well, throws the token away and turns the generator back by the offset of its draw. Only
    generators of GPUs have an offset: a CPU's raises RuntimeError, which ends the engine, and all requests with it.
    """
    generators = runner.input_batch.generators  # by row of the batch; the sampler reads this very dictionary
    unfinished = runner.discard_request_mask.np[: runner.input_batch.num_reqs].nonzero()[0].tolist()
    held_back = {row: generators.pop(row) for row in unfinished if row in generators}
    output = _vllm_sample_tokens(runner, grammar_output)
    generators.update(held_back)
    return output
