"""Batches: the rows that are computed together.

A batch (one optimizer step) is drawn at random, so statistics are those of plain shuffling. Within a batch, rows of
similar length share a forward pass, because padding is work without result; the loss is summed over the batch's
learned tokens, so the split does not change the gradient. A config's micro_batch_size therefore does not bound the
rows of a pass (MAX_TOKENS does); batch_size must still be a multiple of it.
"""

import random

MAX_TOKENS = 8192
# A pass costs as much as so many tokens before it has computed any (measured on a 6 M parameter model, 2 cores: 40 to
# 150 make no difference).
PASS_OVERHEAD = 80


def epoch_batches(rows: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers of each step of an epoch: every row once, the last batch may be smaller."""
    order = random.Random(f"{seed}/{epoch}").sample(range(rows), rows)
    return [order[i : i + batch_size] for i in range(0, rows, batch_size)]


def passes(lengths: list[int], max_tokens: int = MAX_TOKENS, overhead: int = PASS_OVERHEAD) -> list[list[int]]:
    """Split positions 0..len(lengths)-1 into groups, so that padded tokens plus overhead are fewest.

    A group is computed as one rectangle, `len(group) * max length` tokens, at most `max_tokens` unless a single row
    is longer. Exact, by dynamic programming over the rows in order of length.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    best: list[tuple[int, int]] = [(0, 0)]  # (cost, where the last group starts) for the first i rows
    for end in range(1, len(order) + 1):
        best.append(
            min(
                (best[start][0] + (end - start) * lengths[order[start]] + overhead, start)
                for start in range(end)
                if end - start == 1 or (end - start) * lengths[order[start]] <= max_tokens
            )
        )
    groups, end = [], len(order)
    while end:
        start = best[end][1]
        groups.append(order[start:end])
        end = start
    return groups[::-1]
