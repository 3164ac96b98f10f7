"""The product of adapters on a CPU, held against sums in 64 bits that are computed row by row."""

import warnings

import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM imports parts of PyTorch that say they are deprecated
    from vllm.lora.layers import LoRAMapping

    from embedded.nim.lora_kernel import DTYPE, GroupedLora

SLOTS, HIGHEST, INPUTS, SLICES = 3, 16, 24, (20, 8)
IDS = {7: 0, 9: 1, 11: 2}
"""Slot of each adapter."""


class Layer:
    """Matrices of a linear layer with two slices, as vLLM fills them: zero beyond an adapter's rank."""

    def __init__(self) -> None:
        self.a = tuple(torch.zeros(SLOTS, 1, HIGHEST, INPUTS, dtype=DTYPE) for _ in SLICES)
        self.b = tuple(torch.zeros(SLOTS, 1, width, HIGHEST, dtype=DTYPE) for width in SLICES)

    def load(self, adapter: int, rank: int, slices: tuple[int, ...] = (0, 1)) -> None:
        slot = IDS[adapter]
        for number, (a, b) in enumerate(zip(self.a, self.b, strict=True)):
            a[slot] = b[slot] = 0
            if number in slices:
                a[slot, 0, :rank] = torch.randn(rank, INPUTS)
                b[slot, 0, :, :rank] = torch.randn(b.shape[2], rank)

    def expected(self, y: torch.Tensor, x: torch.Tensor, adapters: list[int]) -> torch.Tensor:
        result = y.double()
        for row, adapter in enumerate(adapters):
            if adapter:
                parts = [
                    b[IDS[adapter], 0].double() @ (a[IDS[adapter], 0].double() @ x[row].double())
                    for a, b in zip(self.a, self.b, strict=True)
                ]
                result[row] += 2.0 * torch.cat(parts)
        return result


def _wrapper(adapters: list[int]) -> GroupedLora:
    wrapper = GroupedLora(max_num_batched_tokens=64, max_batches=64, device="cpu")
    mapping = LoRAMapping(tuple(adapters), tuple(adapters), is_prefill=True)
    wrapper.update_metadata(mapping, list(IDS), SLOTS + 1, 100)
    return wrapper


def _check(wrapper: GroupedLora, layer: Layer, adapters: list[int], dtype: torch.dtype, tolerance: float) -> None:
    x = torch.randn(len(adapters), INPUTS).to(dtype)
    y = torch.randn(len(adapters), sum(SLICES)).to(dtype)
    expected = layer.expected(y, x, adapters)
    wrapper.add_lora_linear(y, x, layer.a, layer.b, 2.0, SLICES)
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)


def test_each_row_gets_its_adapter_and_rows_without_one_get_none() -> None:
    torch.manual_seed(0)
    layer = Layer()
    layer.load(7, rank=4)
    layer.load(9, rank=HIGHEST)
    layer.load(11, rank=8, slices=(1,))  # leaves the first slice alone
    for adapters in ([7, 0, 9, 11, 7], [9, 9, 9], [11], [0, 0]):
        for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 2e-2)):
            _check(_wrapper(adapters), layer, adapters, dtype, tolerance)


def test_a_slot_that_is_filled_anew_is_taken_by_its_new_rank() -> None:
    torch.manual_seed(1)
    layer = Layer()
    layer.load(7, rank=2)
    wrapper = _wrapper([7, 7])
    _check(wrapper, layer, [7, 7], torch.float32, 1e-4)
    with torch.inference_mode():  # as in vLLM's worker
        layer.load(7, rank=12)
    _check(wrapper, layer, [7, 7], torch.float32, 1e-4)
