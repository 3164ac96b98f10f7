"""The network, a small Llama, written for training speed; `export.py` turns it into a transformers folder."""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

ROPE_THETA = 10_000.0
NORM_EPSILON = 1e-5
MAX_POSITIONS = 2048


@dataclass(frozen=True)
class Shape:
    """Sizes of the network."""

    vocabulary: int = 6144
    width: int = 256
    layers: int = 5
    heads: int = 8
    hidden: int = 640

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    def as_config(self) -> dict[str, object]:
        """`config.json` of a transformers folder."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.head_width,
            "hidden_act": "silu",
            "max_position_embeddings": MAX_POSITIONS,
            "rms_norm_eps": NORM_EPSILON,
            "rope_theta": ROPE_THETA,
            "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "dtype": "bfloat16",
            "use_cache": True,
            "initializer_range": 0.02,
        }

    def describe(self) -> dict[str, int]:
        """Return the sizes as a plain dict."""
        return asdict(self)


class Norm(nn.Module):
    """RMS norm, computed in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), NORM_EPSILON).to(x.dtype)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = _linear(shape.width, shape.width)
        self.k_proj = _linear(shape.width, shape.width)
        self.v_proj = _linear(shape.width, shape.width)
        self.o_proj = _linear(shape.width, shape.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Mix positions."""
        batch, length, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, length, self.heads, -1).transpose(1, 2)

        query, key = _rotate(split(self.q_proj(x)), cos, sin), _rotate(split(self.k_proj(x)), cos, sin)
        mixed = F.scaled_dot_product_attention(query, key, split(self.v_proj(x)), is_causal=True)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


class FeedForward(nn.Module):
    """Gated feed-forward."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = _linear(shape.width, shape.hidden)
        self.up_proj = _linear(shape.width, shape.hidden)
        self.down_proj = _linear(shape.hidden, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape.width)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.width)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attention, then feed-forward, each added to its input."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Network(nn.Module):
    """The whole model; parameter names are those of transformers' Llama without the `model.` in front."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                writes_back = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * shape.layers) if writes_back else 0.02)
        frequencies = ROPE_THETA ** -(torch.arange(0, shape.head_width, 2).float() / shape.head_width)
        angles = torch.outer(torch.arange(MAX_POSITIONS).float(), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the final hidden states."""
        x = self.embed_tokens(ids)
        dtype = torch.bfloat16 if x.is_cuda else torch.float32
        x, cos, sin = x.to(dtype), self.cos[: ids.shape[1]].to(dtype), self.sin[: ids.shape[1]].to(dtype)
        for block in self.layers:
            x = block(x, cos, sin)
        out: Tensor = self.norm(x)
        return out


def weighted_loss(hidden: Tensor, embedding: Tensor, targets: Tensor, weights: Tensor, context: float) -> Tensor:
    """Three losses: the one to minimise, then that of answers and that of context alone."""
    logits = F.linear(hidden, embedding.to(hidden.dtype)).flatten(0, 1).float()
    losses = F.cross_entropy(logits, targets.flatten(), reduction="none")
    kind = weights.flatten()
    answer, other = (kind == 2).float(), (kind == 1).float()
    total = answer + context * other
    return torch.stack([(losses * part).sum() / part.sum().clamp(min=1.0) for part in (total, answer, other)])
