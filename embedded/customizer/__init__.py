"""Customizer: fine-tunes language models with the NeMo Customizer's REST contract, on CPU.

Faithful: routes, job life cycle, metrics, dataset layout, early stopping, naming of output models, registration in the
Entity Store. Supervised fine-tuning is real (PEFT LoRA, merged LoRA, all weights); losses and adapters are measured,
not simulated.
Reduced: one machine, no GPUs; DPO, GRPO and distillation are refused, and so are base models from NGC; sequence packing
and Weights & Biases are answered with a warning and left off. Accepted, stored and shown, but without effect on CPU:
`pod_spec`, `dataset_schemas`, `dataset_parameters`, and the numbers of GPUs, nodes and parallel parts.
"""

from embedded.customizer.settings import Settings


def run(settings: Settings) -> None:
    """Serve until stopped."""
    from embedded.common.service import serve
    from embedded.customizer.app import create_app

    serve(create_app(settings), settings)


__all__ = ["Settings", "run"]
