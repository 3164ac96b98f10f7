"""The sample dataset: questions about generated contract clauses, in train.jsonl, validation.jsonl and test.jsonl.

README.md says how it is made. It is the default of `nemostack run`, and test.jsonl that of the load test's prompts.
"""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
PROMPTS: Final = FOLDER / "test.jsonl"
