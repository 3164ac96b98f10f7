"""The small language model of the local stack: its training data, its training, its evaluation and its weights.

`weights/` is a transformers-format folder (`nemostack/tiny-instruct`) that the NIM facade serves and the Customizer
tunes when no other base model is configured. README.md is its model card.
"""

from pathlib import Path

MODEL_ID = "nemostack/tiny-instruct"
WEIGHTS = Path(__file__).resolve().parent / "weights"
