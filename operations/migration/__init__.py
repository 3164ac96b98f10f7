"""`nemostack migrate`: what the services of the 25.x line hold, brought to the NeMo Platform.

Datasets, models, adapters, prompts and evaluation definitions are copied; nothing is deleted or changed at the source.
Every file is hashed as it is read there and again as the platform gives it back. Refuses stacks of other product lines.
"""
