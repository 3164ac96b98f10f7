"""Where a job computes: a CPU, or its share of a GPU; and how much of a batch fits into one pass there.

The share is enforced by PyTorch's allocator, so that a job that needs more fails by itself and not NIM beside it.
`prepare_environment` comes before CUDA is in use in the process; forked processes are fine.
"""

import os
from typing import Any

from embedded.customizer import batches
from embedded.customizer.spec import JobError, JobSpec

MAX_GPU_TOKENS = 65536
SHARE_SETTING = "local.gpu.nim_memory_fraction"


def prepare_environment(spec: JobSpec) -> None:
    """Show this process the GPUs of the job, or none.

    All of them: NCCL asks whether two GPUs reach one another, which it cannot when a process sees only its own
    (https://github.com/NVIDIA/nccl/issues/1066); it hung then.
    """
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the numbers of nvidia-smi
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, spec.gpus[: spec.processes]))


def claim(spec: JobSpec, rank: int = 0) -> None:
    """Take the share of the GPU of process `rank`, and no more. Imports torch."""
    import torch

    torch.set_num_threads(spec.threads_per_process)
    if spec.device == "cuda":
        torch.cuda.set_device(rank)
        torch.cuda.set_per_process_memory_fraction(spec.gpu_memory_fraction)


def tokens_per_pass(spec: JobSpec, config: Any) -> int:
    """Estimate what fits beside the weights into the job's share; on a CPU more gains nothing."""
    if spec.device == "cpu":
        return batches.MAX_TOKENS
    import torch

    weights = torch.cuda.memory_allocated()
    _, whole = torch.cuda.mem_get_info()
    room = whole * spec.gpu_memory_fraction - weights
    if spec.hyperparameters.finetuning_type == "all_weights":
        room -= 3 * weights  # the gradient, and two averages of the optimizer
    return max(1, min(MAX_GPU_TOKENS, int(0.9 * room / bytes_per_token(config))))


def bytes_per_token(config: Any) -> int:
    """Estimate the memory that one token takes between its forward and its backward pass, in bf16.

    A layer keeps about a dozen values as wide as the hidden state, four of them in 32 bits inside of its norms, and
    five as wide as the feed-forward part; the output layer keeps each logit in 16 bits, and twice in 32.
    """
    text = config.get_text_config()
    width, inner = text.hidden_size, getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    per_layer = 40 * width + 10 * inner
    return int(text.num_hidden_layers * per_layer + 10 * text.vocab_size)


def out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch ran out of a GPU's memory. Asked by name: torch need not be loaded."""
    return type(error).__name__ == "OutOfMemoryError"


def shortage(spec: JobSpec, error: Exception) -> JobError | None:
    """Return the error to tell when the GPU's memory does not suffice for a single row: it says what to change."""
    if not out_of_memory(error):
        return None
    advice = (
        "Lower max_seq_length of the config or adapter_dim, take a smaller base model, or give training more than "
        f"{spec.gpu_memory_fraction:.0%} of the GPU by lowering {SHARE_SETTING}."
    )
    return JobError(f"out of GPU memory: {str(error).split('. ')[0]}", advice)
