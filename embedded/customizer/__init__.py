"""Customizer: fine-tunes language models with the NeMo Customizer's REST contract, on the CPU or one GPU.

Faithful: routes and status codes, job life cycle, metrics, dataset layout, early stopping, names of output models and
their registration in the Entity Store. Supervised fine-tuning is real (PEFT LoRA, merged LoRA, all weights); losses and
adapters are measured, not simulated.
Unknown keys of a request are ignored and named in `warnings` (of a job), `warning_message` (of a PATCH) and the log.
Calls of tools are trained on where the base model's chat template writes them; where it does not, the job fails and
says so. The sample base model's template does not.
Reduced: one machine, one GPU a job; DPO, GRPO and distillation are refused, and so are base models from NGC; sequence
packing and Weights & Biases are answered with a warning and left off. Accepted, stored and shown, but without effect:
`pod_spec`, `dataset_schemas`, `dataset_parameters`, and the numbers of GPUs, nodes and parallel parts.
"""

from embedded.customizer.settings import Settings


def run(settings: Settings) -> None:
    from embedded.common.service import serve
    from embedded.customizer.app import create_app

    serve(create_app(settings), settings)


__all__ = ["Settings", "run"]
