"""What a model entity's `spec` says, from the files of its fileset, as NVIDIA's analysis fills it in.

NVIDIA's runs as a job in a container, which is refused on a machine without containers, and its documentation says to
wait for the spec before a job is submitted. It is read here from the configuration alone: of dense transformers.
Refuses mixtures of experts and state-space models, whose sizes need more than that, and says what is missing in others.
Left open: the linear layers and the smallest number of GPUs, which NVIDIA reckons with the model itself.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

_OTHER = ("num_experts", "num_local_experts", "n_routed_experts", "ssm_cfg", "state_size", "layers_block_type")
_NEEDED = ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
_GATED = {"silu", "swish", "gelu_pytorch_tanh", "gelu_new", "gelu_fast"}
_UNGATED_TYPES = {"gpt2", "gpt_neox", "opt", "phi", "bloom", "falcon"}
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def spec_of(config: Mapping[str, Any], name: str, *, is_chat: bool) -> dict[str, Any]:
    """Make the spec of a model by its `config.json`. ValueError says why there is none."""
    text: Mapping[str, Any] = config.get("text_config") or config
    if other := [key for key in _OTHER if text.get(key)]:
        raise ValueError(f"not a dense transformer: its config.json has {', '.join(other)}")
    if missing := [key for key in _NEEDED if not text.get(key)]:
        raise ValueError(f"its config.json lacks {', '.join(missing)}")
    hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    kv_heads = int(text.get("num_key_value_heads") or heads)
    ffn = int(text.get("intermediate_size") or 4 * hidden)
    gated = text.get("hidden_act") in _GATED and text["model_type"] not in _UNGATED_TYPES
    tied = bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True)))
    head_dim = int(text.get("head_dim") or hidden // heads)
    attention = 2 * hidden * head_dim * (heads + kv_heads)
    layer = attention + (3 if gated else 2) * hidden * ffn + 2 * hidden
    embeddings = int(text["vocab_size"]) * hidden * (1 if tied else 2)
    return {
        "checkpoint_model_name": name,
        "family": str(text["model_type"]),
        "is_chat": is_chat,
        "is_embedding_model": "embed" in name.lower(),
        "context_size": text.get("max_position_embeddings"),
        "num_layers": int(text["num_hidden_layers"]),
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_kv_heads": kv_heads,
        "ffn_hidden_size": ffn,
        "vocab_size": int(text["vocab_size"]),
        "tied_embeddings": tied,
        "gated_mlp": gated,
        "base_num_parameters": int(text["num_hidden_layers"]) * layer + embeddings + hidden,
        "precision": str(text.get("dtype") or text.get("torch_dtype") or config.get("dtype") or "float32"),
    }


class Specs:
    """Fills in what is missing. A model that cannot be told is tried again each time, for its files may come later."""

    def __init__(self, sdk: Any) -> None:
        self._sdk = sdk
        self._told: dict[str, str] = {}

    async def fill(self, entities: Iterable[Any]) -> None:
        """Give the model entities that have files and no spec theirs. A failure is told once in the platform's log."""
        failures: dict[str, str] = {}
        for entity in entities:
            if not entity.fileset or entity.spec:
                continue
            try:
                spec = await self._read(entity)
                await self._sdk.models.update(name=entity.name, workspace=entity.workspace, spec=spec)
            except Exception as error:  # noqa: BLE001 - a model whose files nobody can read must not stop the others
                failures[entity.id] = str(error)
                if self._told.get(entity.id) != str(error):
                    logger.warning("model %s/%s has no spec yet: %s", entity.workspace, entity.name, error)
        self._told = failures

    async def _read(self, entity: Any) -> dict[str, Any]:
        workspace, _, fileset = entity.fileset.removeprefix("fileset://").rpartition("/")
        where = {"fileset": fileset, "workspace": workspace or entity.workspace}
        paths = {file.path for file in (await self._sdk.files.list(**where)).data}
        if "config.json" not in paths:
            raise ValueError("its fileset has no config.json")
        config = json.loads(await self._sdk.files.download_content(remote_path="config.json", **where))
        is_chat = not paths.isdisjoint(CHAT_TEMPLATES)
        if not is_chat and "tokenizer_config.json" in paths:
            tokenizer = await self._sdk.files.download_content(remote_path="tokenizer_config.json", **where)
            is_chat = bool(json.loads(tokenizer).get("chat_template"))
        return spec_of(config, entity.name, is_chat=is_chat)
