"""Facts about a base model that need no loading, read from the files beside its weights."""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

DEFAULT_CONTEXT = 2048


@dataclass(frozen=True)
class Facts:
    """`parameters` is 0 when unknown: the weights are not on this machine, or not in safetensors files."""

    parameters: int
    context: int
    is_chat: bool


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _parameters(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def facts(weights: str) -> Facts:
    """Facts about the model at `weights` (a folder; for anything else the defaults)."""
    folder = Path(weights)
    if not folder.is_dir():
        return Facts(0, DEFAULT_CONTEXT, is_chat=True)
    tokenizer = _json(folder / "tokenizer_config.json")
    return Facts(
        sum(_parameters(path) for path in folder.glob("*.safetensors")),
        _json(folder / "config.json").get("max_position_embeddings") or DEFAULT_CONTEXT,
        is_chat=bool(tokenizer.get("chat_template")) or (folder / "chat_template.jinja").exists(),
    )
