"""The parts of vLLM that the NIM is put together from, wherever the installed release keeps them.

The environments for CPU and CUDA hold different releases, because each CUDA release of vLLM wants one certain PyTorch.
Only names have moved between the two; this module is the one place that knows. Imports vLLM.
"""

try:
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.entrypoints.launchers.launcher import serve_http
    from vllm.entrypoints.serve.engine.protocol import ErrorResponse

    SERVER_MODULE = "vllm.entrypoints.launchers.api_server.entry"
except ModuleNotFoundError:  # before vLLM 0.23
    from vllm.entrypoints.launcher import serve_http  # type: ignore[no-redef]
    from vllm.entrypoints.openai.api_server import build_app, init_app_state
    from vllm.entrypoints.openai.cli_args import make_arg_parser  # type: ignore[no-redef]
    from vllm.entrypoints.openai.engine.protocol import ErrorResponse  # type: ignore[no-redef]

    SERVER_MODULE = "vllm.entrypoints.openai.api_server"

__all__ = ["SERVER_MODULE", "ErrorResponse", "build_app", "init_app_state", "make_arg_parser", "serve_http"]
