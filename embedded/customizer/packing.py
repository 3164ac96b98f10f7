"""Rows laid end to end in one sequence: nothing is padded, and a beginning that all rows share is computed once.

Most chats begin alike, with the template's system prompt. What the model computes there depends on nothing that comes
later, so one copy serves every row of a pass, and its gradient is the sum of theirs. Attention keeps each row to
itself. Values and gradients are those of the rows one by one, to rounding (tests compare them). Refuses model types
whose attention is not known here to be plain and causal: `is_packable` says so, and their rows are computed one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch.nn import functional

from embedded.customizer.tokens import Example

ATTENTION = "packed_rows"
PLAIN_ATTENTION = "sdpa"
PLAIN_TYPES = {"granite", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3"}


def is_packable(config: Any, longest: int) -> bool:
    """Whether attention over `longest` tokens is plain and causal in every layer of a model."""
    window = getattr(config, "sliding_window", None)
    return config.model_type in PLAIN_TYPES and (window is None or window >= longest)


@dataclass(frozen=True)
class Layout:
    """`shared` tokens at the start belong to every row; then come each row's own tokens."""

    shared: int
    own: tuple[int, ...]
    ends: torch.Tensor | None = None  # on a GPU: where each row ends, behind a first zero


@dataclass(frozen=True)
class Pack:
    """One pass. `targets[i]` is to be predicted from what the model says at `before[i]`."""

    layout: Layout
    ids: torch.Tensor
    positions: torch.Tensor
    before: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> "Pack":
        """Return the pack with its tensors on a device; the CPU does not wait for a GPU to have them."""
        if device.type == "cpu":
            return self
        ends = torch.tensor([0, *accumulate(self.layout.own)], dtype=torch.int32)
        tensors = (self.ids, self.positions, self.before, self.targets, ends)
        *moved, ends = (tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors)
        return Pack(replace(self.layout, ends=ends), *moved)


def _shared_tokens(examples: Sequence[Example]) -> int:
    """Count the tokens that all rows begin with; none of them is learned, and each row keeps one of its own."""
    if len(examples) == 1:
        return 0
    first, last = min(e.ids for e in examples), max(e.ids for e in examples)  # in this order all others lie between
    most = min(min(e.learned.index(True), len(e) - 1) for e in examples)
    return next((n for n in range(most) if first[n] != last[n]), most)


def pack(examples: Sequence[Example], *, share: bool = True) -> Pack:
    """Lay rows end to end. `share=False` repeats what they share, as random dropout in each row requires."""
    shared = _shared_tokens(examples) if share else 0
    ids, positions = examples[0].ids[:shared], list(range(shared))
    before, targets = [], []
    for example in examples:
        offset = len(ids) - shared  # from a position in the row to one in the sequence
        for position in range(shared, len(example)):
            if example.learned[position]:
                before.append(position - 1 + (offset if position > shared else 0))
                targets.append(example.ids[position])
        ids = ids + example.ids[shared:]
        positions += range(shared, len(example))
    tensors = (torch.tensor(ids), torch.tensor(positions), torch.tensor(before), torch.tensor(targets))
    return Pack(Layout(shared, tuple(len(e) - shared for e in examples)), *tensors)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: Layout,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    """Compute causal attention within each row; an attention function as transformers calls them."""
    del module, attention_mask
    if layout.ends is not None and not layout.shared and not dropout:
        dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else query.dtype
        if dtype in {torch.bfloat16, torch.float16}:
            q, k, v = (tensor.to(dtype) for tensor in (query, key, value))
            return _attend_in_one_kernel(q, k, v, layout.own, layout.ends, scaling), None
    shared, sizes = layout.shared, ([layout.shared] if layout.shared else []) + list(layout.own)
    # On a CPU the backward pass takes three times as long in bfloat16.
    exact = torch.float32 if query.device.type == "cpu" else query.dtype
    parts = [torch.split(tensor.to(exact), sizes, dim=2) for tensor in (query, key, value)]
    outputs: list[torch.Tensor] = []
    for number in range(1 if shared else 0, len(sizes)):
        q, k, v = (torch.cat([part[0], part[number]], dim=2) if shared else part[number] for part in parts)
        output = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=True
        )
        outputs.append(output[:, :, shared:] if outputs else output)  # the first row gives the shared part as well
    return torch.cat(outputs, dim=2).transpose(1, 2).to(query.dtype).contiguous(), None


def _attend_in_one_kernel(  # noqa: PLR0917
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    own: tuple[int, ...],
    ends: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """As the loop below does, for a GPU, where to start many small kernels takes longer than to run them."""
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    output: Any = varlen_attn(
        q.contiguous(),
        k.contiguous(),
        v.contiguous(),
        ends,
        ends,
        max(own),
        max(own),
        scale=scaling,
        window_size=(-1, 0),
    )
    attended: torch.Tensor = output[None]
    return attended


def register() -> None:
    """Make `attend` known to transformers under the name ATTENTION."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
