"""The settings in vLLM's words. Imports nothing heavy."""

from embedded.common.processor import multiplies_bfloat16
from embedded.nim.settings import Settings
from embedded.nim.tool_parsers import choose_tool_parser

CPU_KV_CACHE_MIB = 512
CPU_BLOCK_TOKENS = 32
"""Of the KV cache; the prefix cache knows whole blocks alone. vLLM's 128 is longer than most system prompts."""


def vllm_arguments(settings: Settings) -> list[str]:
    """Return the command line that a bare vLLM server would get for the same model."""
    return [
        *("--model", settings.model_path),
        *("--served-model-name", settings.base_model),
        *("--host", settings.host),
        *("--port", str(settings.port)),
        *("--dtype", settings.dtype or ("bfloat16" if multiplies_bfloat16() else "float32")),
        *("--max-model-len", str(settings.max_model_len)),
        *("--max-num-seqs", str(settings.max_num_seqs)),
        *("--max-num-batched-tokens", str(settings.max_num_batched_tokens)),
        "--enable-prefix-caching",
        *_accelerator_arguments(settings),
        *("--enable-lora", "--max-loras", str(settings.max_loras)),
        *("--max-cpu-loras", str(settings.max_cpu_loras)),
        *("--max-lora-rank", str(settings.max_lora_rank)),
        *("--lora-target-modules", *settings.lora_layers),
        # Else a model's own max_new_tokens silently caps what requests ask for.
        *("--override-generation-config", '{"max_new_tokens": null}'),
        # Requests with `tools` are refused without both of these.
        "--enable-auto-tool-choice",
        *("--tool-call-parser", settings.tool_call_parser or choose_tool_parser(settings.model_path)),
        # JSON mode: a small model fills the space that JSON allows between its parts with newlines to the end.
        *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
        "--enable-tokenizer-info-endpoint",  # lm-eval asks for it
        *("--allowed-origins", "[]"),  # no web page may call this server
    ]


def _accelerator_arguments(settings: Settings) -> list[str]:
    cache = settings.kv_cache_mib
    if settings.accelerator == "cpu":
        # Nothing is compiled or captured: on a CPU that costs minutes and gains nothing.
        memory = ("--kv-cache-memory-bytes", str((cache or CPU_KV_CACHE_MIB) * 1024**2))
        return [*memory, "--block-size", str(CPU_BLOCK_TOKENS), "--enforce-eager"]
    return [
        *(() if cache is None else ("--kv-cache-memory-bytes", str(cache * 1024**2))),
        *("--gpu-memory-utilization", f"{settings.gpu_memory_fraction:g}"),
        *("--tensor-parallel-size", str(len(settings.gpus))),
        *("--load-format", settings.load_format),
    ]
