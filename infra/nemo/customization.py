"""The Customizer's targets (base models) and templates (how to train them), as its chart takes them. Pure.

Only what the settings name is on: the chart's own targets would each download a checkpoint of several GB.
"""

from typing import Any

from infra.config.nemo import CustomizationTarget, CustomizationTemplate, CustomizerSettings

ON_BY_DEFAULT = ("meta/llama-3.2-1b-instruct@2.0", "meta/llama-3.1-8b-instruct@2.0")
"""Targets that chart 25.12 enables. Helm merges maps, so they must be switched off by name."""


def customization(customizer: CustomizerSettings, *, hugging_face: bool) -> dict[str, Any]:
    """Return the values `customizationTargets` and `customizationConfigTemplates`."""
    targets_of_stack = customizer.targets
    unwanted = set(ON_BY_DEFAULT) - {entry.name for entry in targets_of_stack}
    targets: dict[str, Any] = {name: {"enabled": False} for name in sorted(unwanted)}
    return {
        "customizationTargets": {
            "overrideExistingTargets": True,
            "hfTargetDownload": {
                "enabled": hugging_face or any(entry.model_uri.startswith("hf://") for entry in targets_of_stack)
            },
            "targets": targets | {entry.name: target(entry) for entry in targets_of_stack},
        },
        "customizationConfigTemplates": {
            "overrideExistingTemplates": True,
            "templates": {
                entry.name: template(owner, entry) for owner in targets_of_stack for entry in owner.templates
            },
        },
    }


def target(said: CustomizationTarget) -> dict[str, Any]:
    namespace, name = said.name.split("/")
    return {
        "enabled": True,
        "namespace": namespace,
        "name": name,
        "base_model": said.base_model,
        "model_uri": said.model_uri,
        "model_path": said.model_path,
        "num_parameters": said.parameters,
        "precision": said.precision,
    }


def template(owner: CustomizationTarget, said: CustomizationTemplate) -> dict[str, Any]:
    """Return one template: LoRA by supervised fine-tuning, the model split over all GPUs of a node."""
    namespace, name = said.name.split("/")
    return {
        "namespace": namespace,
        "name": name,
        "target": owner.name,
        "max_seq_length": said.max_seq_length,
        "prompt_template": said.prompt_template,
        "training_options": [
            {
                "training_type": "sft",
                "finetuning_type": "lora",
                "num_gpus": said.gpus,
                "num_nodes": said.nodes,
                "tensor_parallel_size": said.gpus,
                "micro_batch_size": said.micro_batch_size,
            }
        ],
    }
