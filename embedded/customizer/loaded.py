"""What every training process needs, loaded once in the process that the others are forked from.

Frozen by the loading, so that the forks share it in memory for good: their garbage collectors do not write to it.
"""

from nemostack.imports import without_collector

with without_collector():
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.auto.modeling_auto
    import transformers.models.auto.tokenization_auto
    import transformers.models.llama.modeling_llama  # noqa: F401

    import embedded.customizer.training
    import embedded.customizer.worker  # noqa: F401
