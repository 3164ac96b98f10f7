"""The base model in memory: loading, making the right weights trainable, the loss, and saving the result."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from embedded.customizer import lora
from embedded.customizer.progress import Reporter
from embedded.customizer.schemas import Lora, Sft
from embedded.customizer.spec import JobError, JobSpec
from embedded.customizer.tokens import Example

Tensors = dict[str, torch.Tensor]
_ADVICE = "Check the files of the target's model_uri or, if it has none, base_models in the Customizer's settings."


def load_tokenizer(spec: JobSpec) -> Any:
    """Load the base model's tokenizer, with the config's chat template if it has one. JobError if absent."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(spec.weights, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise JobError(f"base model {spec.base_model}: no tokenizer at {spec.weights}: {error}", _ADVICE) from error
    if spec.chat_prompt_template:
        tokenizer.chat_template = spec.chat_prompt_template
    return tokenizer


def _set_dropout(config: Any, sft: Sft, reporter: Reporter) -> None:
    dropouts = {"attention_dropout": sft.attention_dropout, "hidden_dropout": sft.hidden_dropout}
    for name, value in dropouts.items():
        if value is None:
            continue
        if hasattr(config, name):
            setattr(config, name, value)
        else:
            reporter.warn(f"sft.{name} has no effect: {config.model_type} models have no such dropout")


class TunedModel:
    """A causal language model of which some weights are trainable."""

    def __init__(self, spec: JobSpec, reporter: Reporter, *, fused: bool = True) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM

        self._spec = spec
        self._hyper = spec.hyperparameters
        try:
            config = AutoConfig.from_pretrained(spec.weights, trust_remote_code=False)
            self._dtype = getattr(config, "dtype", None) or torch.float32
            if self._hyper.sft:
                _set_dropout(config, self._hyper.sft, reporter)
            adapter = self._hyper.finetuning_type != "all_weights"
            # Frozen weights may be rounded; weights that learn in small steps may not: on a GPU those are computed
            # with in bf16 all the same (autocast).
            half = adapter and spec.precision in {"bf16", "bf16-mixed"}
            self._autocast = spec.device == "cuda" and not adapter and spec.precision in {"bf16", "bf16-mixed"}
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                spec.weights,
                config=config,
                dtype=torch.bfloat16 if half else torch.float32,
                attn_implementation="sdpa",
                trust_remote_code=False,
                output_loading_info=True,
            )
            self.core: Any = loaded[0]
        except (OSError, ValueError) as error:
            raise JobError(f"base model {spec.base_model}: cannot load {spec.weights}: {error}", _ADVICE) from error
        if absent := loaded[1]["missing_keys"]:  # transformers would go on with random values
            raise JobError(f"base model {spec.base_model}: {spec.weights} has no {min(absent)}", _ADVICE)
        self._peft: Any = None
        torch.manual_seed(spec.seed)  # a fresh adapter's values are random
        if adapter:
            self._peft = lora.attach(self.core, self._hyper.lora or Lora(), spec.base_model, fused=fused)
        self._device = torch.device(spec.device)
        self.core.to(self._device)
        self._selected = torch.empty(0, dtype=torch.long)
        # The output layer is a large part of a small model; it is computed only where a token is learned.
        self.core.get_output_embeddings().register_forward_pre_hook(self._select)

    def _select(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor] | None:
        return (inputs[0].flatten(0, 1)[self._selected],) if inputs[0].dim() == 3 else None

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name."""
        return {name: p for name, p in self.core.named_parameters() if p.requires_grad}

    def loss_sum(self, examples: list[Example]) -> torch.Tensor:
        """Sum over learned tokens of -log p(token | what stands before it); a scalar, in nats.

        Rows are padded at their end: causal attention never looks there, so no mask is needed.
        """
        width = max(map(len, examples))
        ids = torch.tensor([e.ids + [0] * (width - len(e)) for e in examples])
        learned = torch.tensor([e.learned + [False] * (width - len(e)) for e in examples])
        before = torch.cat([learned[:, 1:], torch.zeros(len(examples), 1, dtype=torch.bool)], dim=1)
        # Which values are needed is found out here, on the CPU: a GPU would have to be waited for.
        self._selected = self._moved(before.flatten().nonzero().squeeze(1))
        targets = self._moved(ids[learned])
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            logits = self.core(input_ids=self._moved(ids), use_cache=False).logits
        return functional.cross_entropy(logits.float(), targets, reduction="sum")

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """Bring a tensor to where the model is."""
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def tensors(self) -> Tensors:
        """Get the trainable weights, not copied."""
        return {name: p.detach() for name, p in self.trainable.items()}

    @torch.no_grad()
    def restore(self, tensors: Tensors) -> None:
        """Set the trainable weights."""
        for name, parameter in self.trainable.items():
            parameter.copy_(tensors[name])

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write the result: an adapter in PEFT layout, or a whole model with its tokenizer."""
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        if self._hyper.finetuning_type == "lora":
            # Asking for no embedding layers keeps PEFT from looking up the base model's id on the public hub.
            self._peft.save_pretrained(str(partial), save_embedding_layers=False)
        else:
            whole = self._peft.merge_and_unload() if self._peft else self.core
            whole.to(self._dtype).save_pretrained(str(partial))
            tokenizer.save_pretrained(str(partial))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)  # the folder's existence says that it is complete
