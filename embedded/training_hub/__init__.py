"""Training on NVIDIA's open platform: our trainer behind the platform's customization hub, on a CPU or one GPU.

The platform's package holds the protocol of the hub (`nemo_platform_plugin.customization_contributor`), but neither
the hub nor a backend. Here are both, found by entry points: the hub, and the backends `automodel` and `unsloth`, which
accept the job schemas that NVIDIA documents for them. A job runs under the platform's own job service in its four
documented steps; the numbers that it reports are measured.

NVIDIA's own hub and backends go first where they are installed and there is a GPU: see `official`.

Faithful: names, defaults and limits of the documented fields, unknown ones are refused; SFT with LoRA, merged LoRA and
all weights; names of steps, phases and metrics; filesets in, fileset and adapter or model entity out.
Reduced: one device a job; LoRA ranks are powers of two up to 256; a base model is loaded unquantized, with a warning
where the schema's default would quantize it. What would change the result and is not there (distillation, retrieval,
multi-token prediction, DoRA, LoftQ, label smoothing, NEFTune, deployment after training and others) is refused: 422.
"""
