"""The engine, vLLM's app with NIM's routes on it, and the synchronizer, put together.

Imports vLLM: only after `server.environment` is in force.
"""

import asyncio
import socket
from argparse import Namespace
from contextlib import suppress

import httpx
from fastapi import FastAPI
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.metrics.prometheus import get_prometheus_registry

from embedded.nim import nim_routes
from embedded.nim.adapter_cache import AdapterCache, FolderCache, read_shapes
from embedded.nim.adapters import EntityStoreResolver, VllmAdapters
from embedded.nim.aliases import AliasBook, AliasRouting
from embedded.nim.arguments import vllm_arguments
from embedded.nim.nim_metrics import NimMetrics
from embedded.nim.settings import Settings
from embedded.nim.synchronizer import ReadIndex, Synchronizer, in_folder, over_http
from embedded.nim.vllm_parts import build_app, init_app_state, make_arg_parser, serve_http

GRACE_S = 2


def start_engine(settings: Settings) -> tuple[Namespace, AsyncLLM]:
    """Load the model in a child process. ValueError, OSError or RuntimeError when it cannot be loaded."""
    parser = FlexibleArgumentParser()  # type: ignore[no-untyped-call]
    args = make_arg_parser(parser).parse_args(vllm_arguments(settings))
    args.middleware = [
        f"{nim_routes.__name__}.{nim_routes.BothErrorShapes.__name__}",
        f"{AliasRouting.__module__}.{AliasRouting.__name__}",
    ]
    engine_args = AsyncEngineArgs.from_cli_args(args)
    if settings.accelerator == "cuda":
        return args, _start_on_gpus(settings, engine_args)
    from embedded.nim import cpu_engine, lora_kernel

    engine_args.distributed_executor_backend = "uni"
    engine_args.lora_dtype = lora_kernel.DTYPE
    config = engine_args.create_engine_config()
    cpu_engine.prepare()
    return args, AsyncLLM.from_vllm_config(config)


def _start_on_gpus(settings: Settings, engine_args: AsyncEngineArgs) -> AsyncLLM:
    from embedded.nim import gpu_engine

    gpu_engine.check(settings)
    gpu_engine.prepare()
    try:
        return AsyncLLM.from_vllm_config(engine_args.create_engine_config())
    except (RuntimeError, ValueError) as error:
        raise RuntimeError(f"{error}; {gpu_engine.explain(settings)}") from error


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
            book = app.state.alias_book = AliasBook(settings.data_dir / "aliases.json")
            nim_routes.add_routes(app, engine, metrics, synchronizer, book)
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
    kind = AdapterCache if settings.peft_source is None else FolderCache
    cache = kind(
        settings.data_dir / "adapters",
        settings.data_store_url or "",
        settings.max_lora_rank,
        settings.lora_layers,
        read_shapes(settings.model_path),
    )
    synchronizer = Synchronizer(
        cache,
        VllmAdapters(models, engine, settings.base_model),
        _index(settings, client),
        interval_s=settings.refresh_interval_s,
    )
    models.lora_resolvers.append(EntityStoreResolver(synchronizer, settings.base_model))
    return synchronizer


def _index(settings: Settings, client: httpx.AsyncClient) -> ReadIndex:
    """Where the synchronizer reads which adapters there are."""
    if settings.peft_source is not None:
        return in_folder(settings.peft_source)
    assert settings.entity_store_url is not None
    return over_http(client, settings.entity_store_url, settings.base_model)


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
