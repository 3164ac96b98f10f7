"""What to do when a LoRA job has failed: the guide's table of failures, by what the service says.

The guide names two causes, data in the wrong format and too little memory; the others are those that Customizers have
been seen to report. Says nothing where it does not know.
"""

import re

_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"out of memory|OutOfMemory|CUDA error: out|\bOOM\b|OOMKilled|exit code 137|memory ran out",
        "the memory was too small: halve --batch-size, lower --adapter-dim, or give the training a larger GPU",
    ),
    (
        r"not a number|\bnan\b|diverge|infinite loss",
        "the training diverged: lower --learning-rate tenfold (the guide's range is 1e-5 to 1e-3)",
    ),
    (
        r"dataset|jsonl|prompt_template|column|schema|parse|no rows|empty file",
        "the data was not as expected: each line needs a prompt and a completion, or a chat",
    ),
    (
        r"unschedulable|insufficient nvidia|no gpu|GPUs? (?:are )?(?:not )?available|quota|Pending",
        "no GPU was free for the job: `nemostack doctor` shows who holds them",
    ),
    (
        r"ImagePull|ErrImage|unauthorized|\b403\b",
        "an image or a model could not be fetched: check the NGC key with `nemostack doctor`",
    ),
    (
        r"\brank\b|adapter_dim",
        "NIM serves adapters up to its own limit of rank: lower --adapter-dim, or raise the limit of NIM",
    ),
    (r"no space|disk", "the disk was full: free some, or give the Customizer a larger volume"),
)


def advise(message: str) -> str:
    """Return what to do about a failure, or nothing."""
    return next((advice for pattern, advice in _ADVICE if re.search(pattern, message, re.IGNORECASE)), "")
