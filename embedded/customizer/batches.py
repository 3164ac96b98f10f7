"""Batches: the rows that are computed together.

A batch (one optimizer step) is drawn at random, so statistics are those of plain shuffling. Its rows are computed in
passes of at most MAX_TOKENS, in which they lie end to end (`packing`); the loss is summed over the batch's learned
tokens, so the split does not change the gradient. A config's micro_batch_size therefore does not bound the rows of a
pass (MAX_TOKENS does); batch_size must still be a multiple of it.
"""

import math
import random

# A model of 135 million parameters keeps 1.3 MB a token for the backward pass. Longer passes gain nothing on a CPU.
MAX_TOKENS = 2048


def epoch_batches(rows: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers of each step of an epoch: every row once, the last batch may be smaller."""
    order = random.Random(f"{seed}/{epoch}").sample(range(rows), rows)
    return [order[i : i + batch_size] for i in range(0, rows, batch_size)]


def passes(lengths: list[int], max_tokens: int = MAX_TOKENS) -> list[list[int]]:
    """Split positions 0..len(lengths)-1, in order, into groups of about the same size.

    A group has at most `max_tokens` tokens unless a single row is longer.
    """
    total = sum(lengths)
    aim = total / max(1, math.ceil(total / max_tokens))
    groups: list[list[int]] = []
    size = math.inf
    for number, length in enumerate(lengths):
        if size >= aim or size + length > max_tokens:
            groups.append([])
            size = 0
        groups[-1].append(number)
        size += length
    return groups
