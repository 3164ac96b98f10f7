"""vLLM's OpenAI server in this process, its engine in one forked child.

On a CPU, start-up is what it costs to import vLLM once (7 to 9 s on one core): the child is forked after the imports
instead of importing again, as vLLM's own start does twice; nothing is compiled, nothing is warmed up. On a GPU vLLM
compiles the model and captures CUDA graphs first, which takes a minute or two. Until the model is loaded
the port is bound but refuses connections. A dead engine ends the process with exit code 1; whatever ends this process,
SIGKILL included, ends the engine.
"""

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from typing import Any

from embedded.nim.settings import Settings
from nemostack.imports import without_collector

logger = logging.getLogger("embedded.nim")
_PR_SET_PDEATHSIG = 1


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. SystemExit(1), with one line on stderr, when that is not possible."""
    os.environ.update(environment(settings))  # before anything imports torch or vLLM
    _log(settings.log_level)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        listening = _bind(settings)
        _tie_children_to_this_process(listening)
        with without_collector():
            import uvloop

            from embedded.nim import application

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(application.serve(settings, listening))
    except (OSError, ValueError, RuntimeError) as error:
        logger.debug("start failed", exc_info=True)
        sys.exit(f"nim: cannot serve {settings.base_model} from {settings.model_path}: {error}{_advice(str(error))}")


def _advice(problem: str) -> str:
    """Say what to do where the Hugging Face Hub has refused the model."""
    refused = ("401 Unauthorized", "403 Forbidden", "401 Client Error", "403 Client Error", "gated repo")
    if not any(words in problem for words in refused):
        return ""
    return "\nSet HF_TOKEN to the token of an account that may read this model, and bring the stack up again."


def environment(settings: Settings) -> dict[str, str]:
    """Set what vLLM and its libraries read from the environment."""
    shared = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "VLLM_LOGGING_LEVEL": settings.log_level,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",  # lets vLLM ask our resolver; its routes are removed in nim_routes.py
        # A call that a request forces is written by the tool's schema, as a NIM writes it; else only its frame is.
        "VLLM_ENFORCE_STRICT_TOOL_CALLING": "0",
        "OMP_NUM_THREADS": str(settings.engine_threads),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if settings.accelerator == "cpu":
        return shared | {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # keeps the model in the engine's process; it has its own anyway
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # binding wants a core per thread and one more
        }
    return shared | {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the numbers of nvidia-smi
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, settings.gpus)),
        # The engine's processes meet over loopback, and no other machine can speak to them.
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        # FlashInfer compiles its sampler at the first start, with a CUDA toolkit that a driver does not bring.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
    }


def _log(level: str) -> None:
    """Send our own lines to stderr; vLLM and uvicorn see to theirs."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(asctime)s [%(name)s] %(message)s", "%m-%d %H:%M:%S"))
    package_logger = logging.getLogger("embedded")
    package_logger.addHandler(handler)
    package_logger.setLevel(level)
    package_logger.propagate = False


def _stop(_signal: int, _frame: Any) -> None:
    sys.exit(0)  # not a KeyboardInterrupt: vLLM swallows that while its engine starts, and then waits ten minutes


def _bind(settings: Settings) -> socket.socket:
    """Hold the port from the start: a port in use is known at once, not after the model has loaded."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        raise OSError(f"port {settings.port} of {settings.host} cannot be used: {error.strerror}") from error
    return listening


def _tie_children_to_this_process(listening: socket.socket) -> None:
    """Let a forked child die with this process, and not hold its port."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def before() -> None:  # the engine forks as well, where several GPUs share the model
        nonlocal parent
        parent = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # died in between
            os._exit(1)
        listening.close()

    os.register_at_fork(before=before, after_in_child=in_child)
