"""The server's own numbers: parsing, what is said of them, and how they are asked for."""

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from load_tests import server_metrics
from load_tests.report import server
from load_tests.server_metrics import GPU_NUMBERS, NUMBERS, Source, parse
from load_tests.verdict import server_view
from load_tests.verdict.token_rate import Window

WINDOW = Window(0.0, 40.0)
VLLM = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="meta/base"} 5.0
vllm:num_requests_running{engine="1",model_name="meta/base"} 7.0
vllm:num_requests_waiting{engine="0",model_name="a} 9 {b"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 3.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.5
vllm:num_preemptions_total{engine="0"} 4.0 1767600000000
vllm:num_preemptions_created{engine="0"} 1.7e9
vllm:generation_tokens_total{engine="0"} NaN
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b,c,d,e",waiting_lora_adapters="a,b,c,d,e"} 1.7676e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a",waiting_lora_adapters="a"} 1.7675e+09
"""
NIM = "num_requests_running 2\nnum_requests_waiting 1\ngpu_cache_usage_perc 0.75\n"
DCGM = 'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 80\nDCGM_FI_DEV_GPU_UTIL{gpu="1"} 60\nDCGM_FI_DEV_FB_USED{gpu="0"} 1000\n'


def test_numbers_of_vllm_nim_and_dcgm_are_read() -> None:
    assert parse(VLLM, NUMBERS) == {
        "running": 12,
        "waiting": 3,
        "kv_cache": 0.5,
        "preemptions": 4,
        "adapters": 5,  # of the latest line, not of the last one
        "adapter_slots": 4,
    }
    assert parse(NIM, NUMBERS) == {"running": 2, "waiting": 1, "kv_cache": 0.75}
    assert parse(DCGM, GPU_NUMBERS) == {"gpu_use": 70, "gpu_memory_mib": 1000}
    assert parse("<html>no metrics\n{} 3\nvllm:num_requests_running x\n", NUMBERS) == {}


@pytest.fixture
def metrics_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known = self.path == "/nim/v1/metrics" and self.headers["Authorization"] == "Bearer k"
            body = VLLM.encode() if known else b"no"
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def test_the_path_that_answers_is_found_under_a_prefix(metrics_server: str) -> None:
    (source,) = server_metrics.sources(f"{metrics_server}/nim", "auto", None, "k")
    assert source.ask()["running"] == 12
    source.close()
    assert server_metrics.sources(metrics_server, "off", None, None) == []


def test_a_source_that_does_not_answer_is_written_down(metrics_server: str, tmp_path: Path) -> None:
    missing = Source(metrics_server, ("/metrics",), NUMBERS)
    clock = itertools.count(1)
    sampler = server_metrics.Sampler([missing], tmp_path / server_metrics.FILE, lambda: float(next(clock)))
    row = sampler._sample()
    sampler.stop()
    assert row == {"t": 1.0, "problem": "ValueError: /metrics answered HTTP 404"}
    (tmp_path / server_metrics.FILE).write_text(json.dumps(row) + "\n" + '{"t": 2')
    samples = server_metrics.read_samples(tmp_path)
    assert samples == [row]
    found = server_view.describe(samples, WINDOW)
    assert found is not None
    assert found["findings"] == ["The server told nothing of itself: ValueError: /metrics answered HTTP 404."]
    assert server.plots(found) == []
    assert server_view.describe([], WINDOW) is None


def _samples(**columns: list[float]) -> list[dict[str, float]]:
    return [{"t": float(t), **{name: values[t] for name, values in columns.items()}} for t in range(41)]


def _said(**columns: list[float]) -> str:
    return " ".join(server_view.findings(_samples(**columns), [], WINDOW))


def test_a_queue_that_grows_is_told_with_its_second() -> None:
    grows = [2.0 * max(0, t - 12) for t in range(41)]
    assert "The queue grew from second 13, to 56 waiting requests: saturated." in _said(waiting=grows)
    swings = [float(t % 4) for t in range(41)]
    assert "At most 3 requests waited in the server's queue, which did not grow." in _said(waiting=swings)
    bursts = [30.0 if t % 7 == 0 else 0.0 for t in range(41)]
    assert "did not grow" in _said(waiting=bursts)
    assert "No request waited" in _said(waiting=[0.0] * 41)


def test_what_the_cache_and_the_adapters_did_is_told() -> None:
    said = _said(
        kv_cache=[min(1.0, t / 20) for t in range(41)],
        preemptions=[100.0 + max(0, t - 30) for t in range(41)],
        prefix_queries=[1000.0 + 10 * t for t in range(41)],
        prefix_hits=[500.0 + 4 * t for t in range(41)],
        adapters=[float(3 + t % 2) for t in range(41)],
        adapter_slots=[3.0] * 41,
        gpu_use=[50.0] * 41,
    )
    assert "The KV cache was full from second 19 (100%)" in said
    assert "10 times a request was preempted" in said
    assert "40% of prompt tokens came from the prefix cache" in said
    assert "At most 4 adapters had requests in the server at a time." in said
    assert "In 49% of samples those were more than its 3 slots: requests waited for one." in said
    assert "waited for one" not in _said(adapters=[8.0] * 41, adapter_slots=[8.0] * 41)
    assert "The GPUs were busy 50 % of the time" in said


def test_only_the_window_counts_and_many_samples_are_thinned() -> None:
    samples = [{"t": float(t), "waiting": 100.0 if t > 2000 else 0.0} for t in range(3000)]
    found = server_view.describe(samples, Window(10, 1990))
    assert found is not None
    assert found["findings"] == ["No request waited in the server's queue."]
    assert len(found["samples"]) <= server_view.SAMPLES_KEPT
    assert [plot["title"] for plot in server.plots(found)] == ["Requests in the server"]
