"""The pretraining stream, and a look at it.

    python -m tests.base_model.corpus --length 1024 --count 3

A stream is endless and depends on its seed only.
"""

import argparse
import random
from collections.abc import Iterator

from tests.base_model.sessions import ANSWER, SPECIAL_TOKENS, Segment, sample

LENGTHS = {256: 0.25, 512: 0.15, 1024: 0.48, 2048: 0.12}
"""Share of sequence lengths, by token."""


def stream(seed: int, lengths: dict[int, float] | None = None) -> Iterator[list[Segment]]:
    """Sessions without end, of lengths drawn by share."""
    rng = random.Random(seed)
    shares = LENGTHS if lengths is None else lengths
    while True:
        yield sample(rng, rng.choices(tuple(shares), tuple(shares.values()))[0])


def readable(segments: list[Segment]) -> str:
    """Return a session as text without special tokens."""
    text = "".join(part for part, _ in segments)
    for token in SPECIAL_TOKENS:
        text = text.replace(token, "\n")
    return text


def main() -> None:
    """Print sessions; answers that training learns in full stand in « »."""
    parser = argparse.ArgumentParser(description="Print sessions of the pretraining stream.")
    parser.add_argument("--length", type=int, default=512, help="tokens a session may have, about")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    for _ in range(options.count):
        print("".join(f"«{text}»" if weight == ANSWER else text for text, weight in sample(rng, options.length)))
        print("-" * 80)


if __name__ == "__main__":
    main()
