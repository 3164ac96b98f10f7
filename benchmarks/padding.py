"""The loss of a padded batch, as a plain PEFT loop computes it: what the Customizer is held against."""

from typing import Any

from embedded.customizer.tokens import Example


def padded_loss(model: Any, batch: list[Example], device: str = "cpu") -> Any:
    """Pad the rows to the longest one, and return the model's own mean loss per learned token, a scalar tensor."""
    import torch

    width = max(map(len, batch))
    ids, mask, labels = [], [], []
    for example in batch:
        pad = width - len(example)
        ids.append(example.ids + [0] * pad)
        mask.append([1] * len(example) + [0] * pad)
        pairs = zip(example.ids, example.learned, strict=True)
        labels.append([token if learned else -100 for token, learned in pairs] + [-100] * pad)
    tensors = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return model(**{name: torch.tensor(rows, device=device) for name, rows in tensors.items()}).loss
