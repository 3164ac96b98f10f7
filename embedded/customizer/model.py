"""The base model in memory: loading, making the right weights trainable, the loss, and saving the result."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from embedded.customizer import batches, devices, lora, packing
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
            self._packs = packing.is_packable(config, spec.max_seq_length)
            packing.register()
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                spec.weights,
                config=config,
                dtype=torch.bfloat16 if half else torch.float32,
                attn_implementation=packing.ATTENTION if self._packs else packing.PLAIN_ATTENTION,
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
            self._peft = lora.attach(
                self.core, self._hyper.lora or Lora(), spec.base_model, recipe=spec.recipe, fused=fused
            )
        self._device = torch.device(spec.device)
        self.core.to(self._device)
        self.pass_tokens = devices.tokens_per_pass(spec, config)
        # Rows that share their beginning share its dropout as well, so none is shared where anything is dropped. On a
        # GPU one kernel attends over all rows, but not over a part that is common to them.
        self._shares = (
            spec.device == "cpu"
            and not any(isinstance(m, nn.Dropout) and m.p > 0 for m in self.core.modules())
            and not getattr(config, "attention_dropout", 0)
        )

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name."""
        return {name: p for name, p in self.core.named_parameters() if p.requires_grad}

    def passes(self, examples: list[Example]) -> list[list[Example]]:
        """Split rows into those that are computed together."""
        if not self._packs:
            return [[example] for example in examples]
        return [
            [examples[i] for i in rows]
            for rows in batches.passes([len(example) for example in examples], self.pass_tokens)
        ]

    def loss_sum(self, examples: list[Example]) -> torch.Tensor:
        """Sum over learned tokens of -log p(token | what stands before it); a scalar, in nats.

        The output layer is a large part of a small model; it is computed only where a token is learned.
        """
        # Packed on the CPU in any case: a GPU would have to be waited for where sizes depend on values.
        rows = packing.pack(examples, share=self._shares).to(self._device)
        more = {"layout": rows.layout} if self._packs else {}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            logits = self.core(
                input_ids=rows.ids[None],
                position_ids=rows.positions[None],
                logits_to_keep=rows.before,
                use_cache=False,
                **more,
            ).logits
        return functional.cross_entropy(logits[0].float(), rows.targets, reduction="sum")

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
