"""Sweeps: several LoRA jobs with different hyperparameters, of which the validation loss chooses one."""
