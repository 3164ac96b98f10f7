"""Batches of the pretraining stream, made by many processes while the accelerator works.

Writing and tokenizing text is the bottleneck of training, so each worker puts finished arrays on a queue, and pieces
already used may come again (a few times at most) when no fresh ones are ready.
"""

import multiprocessing as mp
import os
import queue
import random
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.base_model.corpus import LENGTHS
from tests.base_model.sessions import sample

PIECES = 4
"""Pieces in a batch; each comes from one worker."""

Tokens = npt.NDArray[np.uint16]
Weights = npt.NDArray[np.uint8]
Piece = tuple[int, Tokens, Weights]


def make_piece(rng: random.Random, tokenizer: Any, length: int, rows: int) -> Piece:
    """`rows` sessions as arrays of `length` + 1 tokens, padded with weight zero."""
    tokens = np.zeros((rows, length + 1), np.uint16)
    weights = np.zeros((rows, length + 1), np.uint8)
    row = 0
    while row < rows:
        segments = sample(rng, length)
        encoded = tokenizer.encode_batch_fast([text for text, _ in segments], add_special_tokens=False)
        ids: list[int] = []
        marks: list[int] = []
        for part, (_, weight) in zip(encoded, segments, strict=True):
            ids += part.ids
            marks += [weight] * len(part.ids)
        if len(ids) > length + 1 and length <= min(LENGTHS):
            continue  # a short sequence holds one question: cutting it would cut the answer
        size = min(len(ids), length + 1)
        tokens[row, :size], weights[row, :size] = ids[:size], marks[:size]
        row += 1
    return length, tokens, weights


def _work(number: int, pieces: "Queue[Piece]", tokenizer_file: str, batch_tokens: int, seed: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.nice(5)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_file)
    rng = random.Random(f"{seed}-{number}")
    while True:
        length = rng.choices(tuple(LENGTHS), tuple(LENGTHS.values()))[0]
        pieces.put(make_piece(rng, tokenizer, length, max(1, batch_tokens // length // PIECES)))


@dataclass
class Counts:
    """Tokens made and tokens handed out."""

    fresh: int = 0
    used: int = 0


class BatchSource:
    """Starts the workers and hands out batches."""

    def __init__(self, tokenizer_file: Path, *, workers: int, batch_tokens: int, seed: int, reuse: float) -> None:
        context = mp.get_context("fork")
        self.counts = Counts()
        self._reuse = reuse
        self._rng = random.Random(seed)
        self._waiting: dict[int, list[Piece]] = {length: [] for length in LENGTHS}
        self._past: dict[int, list[Piece]] = {length: [] for length in LENGTHS}
        self._pieces: Queue[Piece] = context.Queue(maxsize=8 * PIECES)
        self._workers = [
            context.Process(
                target=_work, args=(number, self._pieces, str(tokenizer_file), batch_tokens, seed), daemon=True
            )
            for number in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    def next(self) -> tuple[int, Tokens, Weights]:
        """Return a batch: fresh pieces if enough are ready, else pieces seen before."""
        while True:
            self._drain()
            ready = [length for length, pieces in self._waiting.items() if len(pieces) >= PIECES]
            if ready:
                length = self._rng.choice(ready)
                chosen = [self._waiting[length].pop() for _ in range(PIECES)]
                self._past[length] = (self._past[length] + chosen)[-3000:]
                break
            known = [length for length, pieces in self._past.items() if len(pieces) >= 40 * PIECES]
            if known and self.counts.used < self._reuse * self.counts.fresh:
                length = self._rng.choices(known, [LENGTHS[name] for name in known])[0]
                chosen = self._rng.sample(self._past[length], PIECES)
                break
            time.sleep(0.002)
        self.counts.used += sum(tokens[:, 1:].size for _, tokens, _ in chosen)
        return (
            length,
            np.concatenate([tokens for _, tokens, _ in chosen]),
            np.concatenate([weights for _, _, weights in chosen]),
        )

    def _drain(self) -> None:
        while True:
            try:
                piece = self._pieces.get_nowait()
            except queue.Empty:
                return
            self._waiting[piece[0]].append(piece)
            self.counts.fresh += piece[1][:, 1:].size

    def close(self) -> None:
        for worker in self._workers:
            worker.terminate()
