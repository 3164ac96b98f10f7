"""The engine, vLLM's app with NIM's routes on it, and the synchronizer, put together.

Imports vLLM: only after `server.environment` is in force.
"""

import asyncio
import os
import socket
from argparse import Namespace
from contextlib import suppress

import httpx
from fastapi import FastAPI
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.entrypoints.launchers.launcher import serve_http
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine import core as _core  # noqa: F401 - for the child, which is forked after the imports
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor import uniproc_executor as _executor  # noqa: F401
from vllm.v1.metrics.prometheus import get_prometheus_registry
from vllm.v1.worker import cpu_worker as _worker  # noqa: F401

from embedded.nim import lora_kernel, nim_routes
from embedded.nim.adapter_cache import AdapterCache, read_shapes
from embedded.nim.adapters import EntityStoreResolver, VllmAdapters
from embedded.nim.arguments import vllm_arguments
from embedded.nim.nim_metrics import NimMetrics
from embedded.nim.settings import Settings
from embedded.nim.synchronizer import Synchronizer, over_http

GRACE_S = 2


def start_engine(settings: Settings) -> tuple[Namespace, AsyncLLM]:
    """Load the model in a forked child. ValueError, OSError or RuntimeError when it cannot be loaded."""
    parser = FlexibleArgumentParser()  # type: ignore[no-untyped-call]
    args = make_arg_parser(parser).parse_args(vllm_arguments(settings))
    args.middleware = [f"{nim_routes.__name__}.{nim_routes.BothErrorShapes.__name__}"]
    engine_args = AsyncEngineArgs.from_cli_args(args)
    engine_args.distributed_executor_backend = "uni"
    config = engine_args.create_engine_config()
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"  # the line above has set "spawn"
    lora_kernel.install()
    return args, AsyncLLM.from_vllm_config(config)


async def serve(settings: Settings, listening: socket.socket) -> None:
    """Serve on `listening` until SIGTERM or SIGINT. RuntimeError when the engine dies."""
    args, engine = start_engine(settings)
    children = engine.engine_core.resources.engine_manager
    try:
        tasks = await engine.get_supported_tasks()
        app = build_app(args, tasks, engine.model_config)
        await init_app_state(engine, app.state, args, tasks)
        async with httpx.AsyncClient(timeout=10) as client:
            synchronizer = _synchronizer(settings, app, engine, client)
            nim_routes.keep_only_served_routes(app)
            metrics = NimMetrics(get_prometheus_registry(), settings.base_model, settings.max_num_seqs)
            nim_routes.add_routes(app, engine, metrics, synchronizer)
            watching = asyncio.create_task(synchronizer.watch())
            try:
                await _listen(settings, app, listening)
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
        if children.failed_proc_name is not None:
            raise RuntimeError("the engine has died; its reason is in the log above")
    finally:
        engine.shutdown(timeout=1)


def _synchronizer(settings: Settings, app: FastAPI, engine: AsyncLLM, client: httpx.AsyncClient) -> Synchronizer:
    models = app.state.openai_serving_models
    cache = AdapterCache(
        settings.data_dir / "adapters",
        settings.data_store_url,
        settings.max_lora_rank,
        settings.lora_layers,
        read_shapes(settings.model_path),
    )
    synchronizer = Synchronizer(
        cache,
        VllmAdapters(models, engine, settings.base_model),
        over_http(client, settings.entity_store_url, settings.base_model),
        interval_s=settings.refresh_interval_s,
    )
    models.lora_resolvers.append(EntityStoreResolver(synchronizer, settings.base_model))
    return synchronizer


async def _listen(settings: Settings, app: FastAPI, listening: socket.socket) -> None:
    # vLLM's function takes over SIGTERM and SIGINT, stops the engine, and returns by itself when that has died.
    ending = await serve_http(
        app,
        sock=listening,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    await ending
