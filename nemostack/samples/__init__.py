"""The sample data that commands use when none is named; the files are those of `examples/`, and part of the wheel."""

from importlib.resources import files
from pathlib import Path
from typing import Final

LEGAL: Final = Path(str(files(__name__) / "legal"))
"""Questions on generated contracts: train.jsonl, validation.jsonl and test.jsonl."""
