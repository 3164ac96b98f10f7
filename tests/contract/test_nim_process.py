"""The NIM as a process: signals, crashes, restarts, wrong settings. Each test starts its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from nemostack.clone import ROOT
from tests.contract.conftest import STOPPED_S, Running, free_port, wait_until
from tests.contract.nim_support import BASE, MODEL, Stores, make_adapter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NOWHERE = "http://127.0.0.1:9"


def settings(**changes: Any) -> dict[str, Any]:
    made = {"base_model": BASE, "model_path": str(MODEL), "entity_store_url": NOWHERE, "data_store_url": NOWHERE}
    return made | {"refresh_interval_s": 0.5, "kv_cache_mib": 64, "max_loras": 2} | changes


def start_to_fail(tmp_path: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"port": free_port(), "data_dir": str(tmp_path / "data"), **settings(**changes)}))
    command = [sys.executable, "-m", "embedded.serve", "nim", str(config)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes[1:])


def read_without_end(url: str, received: threading.Event) -> None:
    body = {"model": BASE, "prompt": "a", "max_tokens": 1900, "stream": True, "ignore_eos": True}
    with suppress(httpx.HTTPError), httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as answer:
        for _ in answer.iter_lines():
            received.set()


def test_sigterm_ends_all_of_it_while_requests_run(start_process: Callable[..., Running]) -> None:
    nim = start_process("nim", wait_s=180, **settings())
    assert nim.process is not None
    processes, received = family(nim.process), threading.Event()
    assert len(processes) > 1, "the engine has a process of its own"
    reader = threading.Thread(target=read_without_end, args=(nim.url, received), daemon=True)
    reader.start()
    assert received.wait(60)
    started = time.monotonic()
    nim.process.send_signal(signal.SIGTERM)
    assert nim.process.wait(STOPPED_S) == 0
    assert time.monotonic() - started < STOPPED_S
    wait_until(lambda: all_gone(processes), "the engine's end")
    reader.join(10)
    assert not reader.is_alive(), "the open request was ended too"


def test_killed_and_started_again(
    start_process: Callable[..., Running],
    start_service: Callable[..., Running],
    tmp_path: Path,
    unique: str,
) -> None:
    # stores of its own: every folder in the cache is looked at
    data_store_url, entity_store_url = start_service("data_store").url, start_service("entity_store").url
    with NeMoMicroservices(base_url=entity_store_url) as sdk:
        stores = Stores(HfApi(endpoint=f"{data_store_url}/v1/hf", token=False), sdk)
        kept = stores.publish(unique, "kept@cust-1", make_adapter(tmp_path / "kept", 1))
        gone = stores.publish(unique, "gone@cust-2", make_adapter(tmp_path / "gone", 2))
        own = settings(entity_store_url=entity_store_url, data_store_url=data_store_url) | {"port": free_port()}
        nim = start_process("nim", wait_s=180, data_dir=tmp_path / "data", **own)
        assert nim.process is not None
        wait_until(lambda: {kept, gone} <= listed(nim.url), "both adapters")
        before = answer(nim.url, kept)
        processes = family(nim.process)

        nim.process.kill()
        nim.process.wait()
        wait_until(lambda: all_gone(processes), "the engine's end after SIGKILL of its parent")
        stores.sdk.models.delete("gone@cust-2", namespace=unique)
        cache = tmp_path / "data" / "adapters"
        (cache / "partial-of-a-download").mkdir()
        kept_files = {path: path.stat().st_mtime_ns for path in cache.glob("*/adapter_model.safetensors")}

        again = start_process("nim", wait_s=180, data_dir=tmp_path / "data", **own)
        wait_until(lambda: kept in listed(again.url), "the adapter after the restart")
        assert gone not in listed(again.url)
        assert answer(again.url, kept) == before
        files = {path: path.stat().st_mtime_ns for path in cache.glob("*/adapter_model.safetensors")}
        assert len(files) == len(listed(again.url)) - 1, "one folder for each adapter that is served"
        assert len(list(cache.iterdir())) == len(files), "and nothing else"
        assert files.items() < kept_files.items(), "fetched once, kept over the restart"
        again.stop()


def listed(url: str) -> set[str]:
    return {model["id"] for model in httpx.get(f"{url}/v1/models", timeout=30).json()["data"]}


def answer(url: str, model: str) -> str:
    body = {"model": model, "prompt": "The parties", "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    text: str = (
        httpx.post(f"{url}/v1/completions", json=body, timeout=60).raise_for_status().json()["choices"][0]["text"]
    )
    return text


def test_a_dead_engine_ends_the_server(start_process: Callable[..., Running]) -> None:
    nim = start_process("nim", wait_s=180, **settings())
    assert nim.process is not None
    engine = next(process for process in family(nim.process) if "EngineCore" in " ".join(process.cmdline()))
    os.kill(engine.pid, signal.SIGKILL)
    assert nim.process.wait(STOPPED_S) == 1, "so that whoever runs it starts it again"
    assert nim.log is not None
    assert "engine has died" in nim.log.read_text()


def test_sigterm_while_the_model_loads(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"port": free_port(), "data_dir": str(tmp_path / "data"), **settings()}))
    with subprocess.Popen([sys.executable, "-m", "embedded.serve", "nim", str(config)], cwd=ROOT) as process:
        wait_until(lambda: len(family(process)) > 1, "the engine, which loads the model")
        processes = family(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOPPED_S) == 0
    wait_until(lambda: all_gone(processes), "the engine's end")


def test_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = start_to_fail(tmp_path, port=port)
    assert ended.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_model_that_is_not_there(tmp_path: Path) -> None:
    ended = start_to_fail(tmp_path, model_path=str(tmp_path / "none"))
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("nim: cannot serve nemostack/tiny-instruct from")
    assert "Traceback" not in ended.stderr


class RefusingHub(BaseHTTPRequestHandler):
    """Answers as the Hub does to a token that it does not know."""

    def do_HEAD(self) -> None:
        self.send_response(401)
        self.send_header("X-Error-Message", "Invalid credentials in Authorization header")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_a_token_that_the_hub_refuses_is_told_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), RefusingHub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_address[1]}")
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        ended = start_to_fail(tmp_path, model_path="meta-llama/Llama-3.2-3B-Instruct")
        hub.shutdown()
    assert ended.returncode == 1
    assert "Invalid credentials in Authorization header" in ended.stderr
    assert "Set HF_TOKEN" in ended.stderr.strip().splitlines()[-1]
    assert "hf_of_nobody" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_weights_that_are_damaged(tmp_path: Path) -> None:
    import shutil

    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    ended = start_to_fail(tmp_path, model_path=str(model))
    assert ended.returncode == 1
    assert "nim: cannot serve" in ended.stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_lora_rank": 33}, "max_lora_rank"),
        ({"max_cpu_loras": 1}, "max_cpu_loras=1 is below max_loras=2"),
        ({"lora_layers": ["q_proj", "lm_head"]}, "lm_head"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    ended = start_to_fail(tmp_path, **change)
    assert ended.returncode == 2
    assert reason in ended.stderr


def test_seeded_requests_whose_prompts_are_read_in_parts(start_process: Callable[..., Running]) -> None:
    # float32: another order of sums must not turn a draw. 300 tokens: five engine steps, or one when read before.
    nim = start_process("nim", wait_s=180, **settings(max_num_batched_tokens=64, dtype="float32"))
    prompts = {seed: [100 + (seed * 37 + place) % 200 for place in range(300)] for seed in (1, 2, 3)}

    def sample(seed: int) -> str:
        body = {"model": BASE, "prompt": prompts[seed], "seed": seed, "temperature": 0.7, "max_tokens": 24}
        reply = httpx.post(f"{nim.url}/v1/completions", json=body | {"ignore_eos": True}, timeout=60)
        text: str = reply.raise_for_status().json()["choices"][0]["text"]
        return text

    with ThreadPoolExecutor(len(prompts)) as pool:
        in_parts = list(pool.map(sample, prompts))
    # All but the last tokens of each prompt are in the prefix cache now: a part must not have cost a draw of its own.
    assert [sample(seed) for seed in prompts] == in_parts
    nim.stop()
