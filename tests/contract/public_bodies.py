"""Parts of the bodies that NVIDIA's public pages, notebooks and clients send: names are made up here."""

from typing import Any

MODEL = {"url": "http://127.0.0.1:9/v1/chat/completions", "model_id": "meta/llama-3.1-8b-instruct"}
TARGET: dict[str, Any] = {"type": "model", "model": {"api_endpoint": MODEL}}
ROWS: dict[str, Any] = {"type": "rows", "rows": [{"some_output": "yes", "expected": "yes"}]}
CACHED = {"type": "cached_outputs", "cached_outputs": {"files_url": "hf://datasets/tutorial/agents/goals.jsonl"}}
FILE = {"files_url": "hf://datasets/tutorial/data/test.jsonl", "limit": 25}


def custom(kind: str, metrics: dict[str, Any], template: Any = None, **task: Any) -> dict[str, Any]:
    params = {"params": {"template": template}} if template else {}
    return {"type": "custom", "tasks": {"qa": {"type": kind, "metrics": metrics} | params | task}}
