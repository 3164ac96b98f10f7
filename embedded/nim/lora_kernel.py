"""LoRA on a CPU in plain matrix products, one per adapter in the batch.

vLLM's CPU wrapper copies the adapter's matrices once per *token* and multiplies them one by one: measured here, 10 and
more times slower than the base model. It also takes the index -1 ("no adapter") for the last slot, so that a base
request batched with adapters is answered by one of them when all slots are taken. This class replaces the one method
that linear layers use; embeddings and logits, which common adapters leave alone, stay vLLM's.

The products are so small that starting one costs more than computing it: those of 32-bit floats start three times as
fast as those of bfloat16, so adapters are kept so (`DTYPE`). The zeros that fill a matrix up to the highest rank are
left out.
"""

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms.cpu import CpuPlatform

Rows = torch.Tensor | None  # None: all rows
DTYPE = torch.float32


def install() -> None:
    """Make vLLM use it in this process and those forked from it."""
    qualified_name = f"{__name__}.{GroupedLora.__name__}"
    setattr(CpuPlatform, "get_punica_wrapper", classmethod(lambda _cls: qualified_name))  # noqa: B010 - for mypy


def group_rows(slots: torch.Tensor) -> list[tuple[int, Rows]]:
    """(slot, its rows) for each adapter in the batch; `slots` holds a slot for each row, -1 for none."""
    present = torch.unique(slots).tolist()
    if len(present) == 1:
        return [] if present[0] < 0 else [(present[0], None)]
    return [(slot, (slots == slot).nonzero().squeeze(1)) for slot in present if slot >= 0]


class GroupedLora(PunicaWrapperCPU):
    """vLLM's wrapper with `add_lora_linear` by adapter instead of by token."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups: list[tuple[int, Rows]] = []
        self._ranks: dict[tuple[int, int], tuple[int, int]] = {}  # by matrix and slot: the matrix's version, the rank

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Before each batch: which rows belong to which adapter."""
        super().update_metadata(*args, **kwargs)
        self._groups = group_rows(self.token_lora_indices)

    def _rank(self, a: torch.Tensor, slot: int) -> int:
        """Count the slot's rows of A up to the last that is not zero; 0 where the adapter leaves the layer alone."""
        known, rank = self._ranks.get((id(a), slot), (-1, 0))
        version = a._version  # noqa: SLF001 - documented: counts what is written into the tensor
        if known != version:
            used = a[slot, 0].any(dim=1).nonzero()
            rank = int(used[-1]) + 1 if len(used) else 0
            self._ranks[id(a), slot] = version, rank
        return rank

    def add_lora_linear(  # noqa: PLR0917 - vLLM's signature
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_: Any,
    ) -> None:
        """y[rows, slice] += scale * x[rows] @ A^T @ B^T.

        A: [slots, 1, highest rank, inputs], B: [slots, 1, outputs of the slice, highest rank], zero beyond the rank of
        the adapter; both of `DTYPE`, whatever the type of x and y is.
        """
        if not self._groups:
            return
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1]).to(DTYPE)
        for slot, rows in self._groups:
            mine = x if rows is None else x[rows]
            start = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                part = y[:, start : start + width]
                start += width
                rank = self._rank(a, slot)
                if not rank:
                    continue
                delta = torch.mm(torch.mm(mine, a[slot, 0, :rank].t()), b[slot, 0, :, :rank].t())
                if rows is None:
                    part.add_(delta, alpha=scale)
                else:
                    part.index_add_(0, rows, delta.to(part.dtype), alpha=scale)
