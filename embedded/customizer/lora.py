"""LoRA as PEFT defines it, computed in fewer passes over memory.

PEFT owns the adapter: its modules, initial values and files. For plain linear layers only the arithmetic of
`forward` is replaced, by one autograd function that adds the low-rank product in place and keeps fewer intermediates;
the values agree with PEFT's to rounding (tests compare them).
"""

import fnmatch
import types
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from embedded.customizer.schemas import Lora
from embedded.customizer.spec import JobError, Recipe

# NeMo names the fused layers of its own checkpoints; these are their parts in Hugging Face checkpoints.
NEMO_NAMES = {
    "linear_qkv": ("q_proj", "k_proj", "v_proj"),
    "linear_proj": ("o_proj",),
    "linear_fc1": ("gate_proj", "up_proj"),
    "linear_fc2": ("down_proj",),
}


class _LowRank(torch.autograd.Function):
    """y = x W' + bias + scale (x * mask) A' B'; W and bias are frozen."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        a_like, b_like = a.to(x.dtype), b.to(x.dtype)
        y = functional.linear(rows, weight, bias)
        low = (rows if mask is None else rows * mask) @ a_like.t()
        y.addmm_(low, b_like.t(), alpha=scale)
        ctx.save_for_backward(x, weight, a_like, b_like, low, mask)
        ctx.scale = scale
        return y.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, low, mask = ctx.saved_tensors
        rows = x.reshape(-1, x.shape[-1])
        dy = grad.reshape(-1, grad.shape[-1])
        d_low = (b.t() @ dy.t()).t().mul_(ctx.scale)  # this way round, matrix libraries are several times faster
        d_b = (low.t() @ dy).t().mul(ctx.scale)
        d_a = d_low.t() @ (rows if mask is None else rows * mask)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = dy @ weight
            if mask is None:
                d_x.addmm_(d_low, a)
            else:
                d_x.addcmul_(d_low @ a, mask)
            d_x = d_x.view_as(x)
        return d_x, None, None, d_a.float(), d_b.float(), None, None


def _forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Replace `peft.tuners.lora.Linear.forward` for one adapter named default."""
    dropout, base = self.lora_dropout["default"], self.base_layer
    mask = None
    if self.training and isinstance(dropout, nn.Dropout) and dropout.p > 0:
        keep = 1 - dropout.p
        mask = torch.empty(x.numel() // x.shape[-1], x.shape[-1], dtype=x.dtype, device=x.device)
        mask.bernoulli_(keep).div_(keep)
    a, b = self.lora_A["default"].weight, self.lora_B["default"].weight
    y: torch.Tensor = _LowRank.apply(x, base.weight, base.bias, a, b, self.scaling["default"], mask)  # type: ignore[no-untyped-call]
    return y


def adapted_layers(model: nn.Module, targets: list[str] | None) -> list[str]:
    """Full names of the linear layers that `targets` means; None means all but the output layer.

    A target is a layer's name (`q_proj`), a NeMo name (`linear_qkv`), or a wildcard over full names (`*.layers.0.*`).
    JobError names the target that matches nothing.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    if targets is None:
        return linear
    chosen: set[str] = set()
    for target in targets:
        prefix, _, last = target.rpartition(".")
        names = [f"{prefix}.{part}" if prefix else part for part in NEMO_NAMES.get(last, (last,))]
        matching = {
            layer
            for layer in linear
            for name in names
            if fnmatch.fnmatchcase(layer, name) or fnmatch.fnmatchcase(layer.rpartition(".")[2], name)
        }
        if not matching:
            kinds = ", ".join(sorted({layer.rpartition(".")[2] for layer in linear}))
            raise JobError(f"lora.target_modules: {target!r} matches no linear layer", f"Layers there are: {kinds}.")
        chosen |= matching
    return [layer for layer in linear if layer in chosen]


def attach(model: nn.Module, lora: Lora, base_model: str, *, recipe: Recipe | None = None, fused: bool = True) -> Any:
    """Wrap `model` in a PEFT model with a fresh adapter. `fused=False` leaves PEFT's own arithmetic."""
    import peft
    from peft.tuners.lora.layer import Linear

    layers = adapted_layers(model, lora.target_modules)
    if recipe and recipe.excluded_modules:
        excluded = set(adapted_layers(model, recipe.excluded_modules))
        layers = [layer for layer in layers if layer not in excluded]
    # Short names where they say the same, as vLLM and people expect in adapter_config.json.
    short = sorted({layer.rpartition(".")[2] for layer in layers})
    config = peft.LoraConfig(
        r=lora.adapter_dim,
        lora_alpha=lora.alpha,
        lora_dropout=lora.adapter_dropout,
        target_modules=short if adapted_layers(model, short) == layers else layers,
        task_type="CAUSAL_LM",
        use_rslora=bool(recipe and recipe.rank_stabilized),
    )
    wrapped = peft.get_peft_model(model, config, autocast_adapter_dtype=True)
    wrapped.peft_config["default"].base_model_name_or_path = base_model
    if fused:
        for module in wrapped.modules():
            if type(module) is Linear and type(module.base_layer) is nn.Linear:
                module.forward = types.MethodType(_forward, module)  # type: ignore[method-assign]
    return wrapped
