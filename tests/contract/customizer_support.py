"""A random tiny Llama with a byte-level tokenizer, made on the spot, and what the Customizer's tests do with jobs."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from embedded.customizer import worker
from embedded.customizer.progress import Reporter
from embedded.customizer.spec import JobFolder, JobSpec
from embedded.customizer.training_rows import Row, Rows, Template, parse_row
from tests.deadlines import Deadline

MODEL_ID = "nemostack/tiny-random"
LIVE = {"created", "pending", "running", "cancelling"}
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer(*, chat: bool = True) -> Any:
    """Build a tokenizer with a token for each byte, with a chat template unless `chat` is False."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=special[0], eos_token=special[1], additional_special_tokens=special[2:]
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(folder: Path, *, chat: bool = True, layers: int = 2) -> Path:
    """Write a random model of 90,752 parameters (two layers) with its tokenizer to `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(chat=chat)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pairs(count: int, start: int = 0) -> list[dict[str, str]]:
    """Rows whose completion follows from the prompt, so that something can be learned."""
    colours = ("red", "green", "blue", "white")
    return [
        {"prompt": f"Item {n}: what colour?" + " Please." * (n % 5), "completion": f"It is {colours[n % 4]}."}
        for n in range(start, start + count)
    ]


def jsonl(rows: Iterable[Any]) -> bytes:
    """Write one JSON value a line."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def put_dataset(hub: HfApi, name: str, files: dict[str, bytes]) -> str:
    """Upload `files` (path -> content) as dataset repository `default/name`."""
    hub.create_repo(f"default/{name}", repo_type="dataset", exist_ok=True)
    for path, content in files.items():
        hub.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=f"default/{name}", repo_type="dataset")
    return f"default/{name}"


def job_spec(weights: str | Path, hyperparameters: dict[str, Any], **changes: Any) -> JobSpec:
    """Make the terms of a job as the Customizer hands them to its worker."""
    terms = {
        "job_id": "cust-x",
        "base_model": MODEL_ID,
        "weights": str(weights),
        "dataset_url": "hf://datasets/default/x",
        "dataset_limit": None,
        "data_store_url": "http://127.0.0.1:9",
        "output_repo": ("default", "out"),
        "hyperparameters": hyperparameters,
        "max_seq_length": 256,
        "precision": "fp32",
        "prompt_template": "{prompt} {completion}",
        "chat_prompt_template": None,
        "threads": 1,
        "seed": 1,
    }
    return JobSpec.model_validate(terms | changes)


def finished(client: NeMoMicroservices, job_id: str, seconds: float = 300) -> Any:
    """Wait for the job's end and return it; AssertionError when that takes longer than `seconds`."""
    deadline = Deadline(seconds)
    while (job := client.customization.jobs.retrieve(job_id)).status in LIVE:
        assert not deadline.passed, f"job {job_id} still {job.status}: {job.status_details}"
        time.sleep(0.1)
    return job


def train_job(root: str, spec: JobSpec) -> None:
    """Train on 40 rows, validated on 12, and report as a job's own process does; for a process of its own."""
    folder = JobFolder(Path(root))
    template = Template.parse(spec.prompt_template)

    def rows(count: int, start: int) -> list[Row]:
        return [parse_row(json.dumps(row).encode(), template) for row in pairs(count, start)]

    reporter = Reporter(folder.progress)
    try:
        worker.train(spec, folder, reporter, Rows(rows(40, 0), rows(12, 1000), []))
    except Exception as error:
        reporter.failed(worker.describe(error))
        raise
