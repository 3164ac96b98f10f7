"""`/v1/metrics`: NIM's names for what vLLM counts. `/metrics` stays vLLM's own.

`gpu_cache_usage_perc` is the fill of the KV cache, which lies in main memory here. `num_request_max` comes from the
settings. vLLM counts per base model, so adapters have no series of their own.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.samples import Sample

NIM_NAMES = {
    "vllm:kv_cache_usage_perc": "gpu_cache_usage_perc",
    "vllm:num_requests_running": "num_requests_running",
    "vllm:num_requests_waiting": "num_requests_waiting",
    "vllm:prompt_tokens": "prompt_tokens",
    "vllm:generation_tokens": "generation_tokens",
    "vllm:request_success": "request_finish",
    "vllm:time_to_first_token_seconds": "time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds": "time_per_output_token_seconds",
    "vllm:e2e_request_latency_seconds": "e2e_request_latency_seconds",
    "vllm:request_prompt_tokens": "request_prompt_tokens",
    "vllm:request_generation_tokens": "request_generation_tokens",
}


def renamed(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """Those of `metrics` that NIM has, under NIM's names (counters gain `_total` when written out)."""
    for metric in metrics:
        name = NIM_NAMES.get(metric.name)
        if name is None:
            continue
        copy = Metric(name, metric.documentation, metric.type)
        for sample in metric.samples:
            labels = {key: value for key, value in sample.labels.items() if key != "engine"}
            copy.samples.append(Sample(name + sample.name.removeprefix(metric.name), labels, sample.value))
        yield copy


class NimMetrics:
    """A prometheus collector over vLLM's registry."""

    def __init__(self, source: CollectorRegistry, model_name: str, request_max: int) -> None:
        self._source, self._model_name, self._request_max = source, model_name, request_max
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks for it."""
        limit = GaugeMetricFamily("num_request_max", "Requests decoded at the same time", labels=["model_name"])
        limit.add_metric([self._model_name], self._request_max)
        yield limit
        yield from renamed(self._source.collect())

    def text(self) -> bytes:
        """Prometheus text format 0.0.4."""
        return generate_latest(self._registry)
