"""Customizer against a plain PEFT loop: the same rows, batches and optimizer, in one run.

    .venv-embedded/bin/python -m benchmarks.customizer [--batch-size 4] [--steps 10] [--dropout 0.1] [--threads 2]

The plain loop is what a first script does (and the Hugging Face Trainer without packing): a batch padded to its longest
row, attention mask, labels, `model(...).loss`. The Customizer's steps include its reports and checkpoints. The two take
turns step by step, so that other load on the machine hits both. Prints tokens/s (padding not counted), the ratio, the
share of the peak (the operations a second of a large product of matrices, measured between the steps) that the
arithmetic of a step reaches, and the validation loss both reach, for speed that costs quality does not count.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.padding import padded_loss
from embedded.customizer.batches import epoch_batches
from embedded.customizer.progress import Reporter
from embedded.customizer.schemas import Hyperparameters, Lora
from embedded.customizer.spec import JobFolder, JobSpec
from embedded.customizer.tokens import Example, encode
from embedded.customizer.training_rows import Template, parse_row
from embedded.customizer.workers import SPIN_COUNT
from nemostack import sample_model
from nemostack.clone import ROOT

PEAK_WIDTH = 2048
PEAK_OPERATIONS = 2 * PEAK_WIDTH**3


class PlainLoop:
    """PEFT as its documentation shows it."""

    def __init__(self, spec: JobSpec) -> None:
        import peft
        import torch
        from transformers import AutoModelForCausalLM

        lora = spec.hyperparameters.lora or Lora()
        base = AutoModelForCausalLM.from_pretrained(spec.weights, dtype=torch.float32)
        config = peft.LoraConfig(
            r=lora.adapter_dim,
            lora_alpha=lora.alpha,
            lora_dropout=lora.adapter_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        torch.manual_seed(spec.seed)
        self.model: Any = peft.get_peft_model(base, config).train()
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self._parameters,
            lr=spec.hyperparameters.learning_rate,
            weight_decay=spec.hyperparameters.weight_decay,
        )

    def step(self, batch: list[Example], rate: float) -> None:
        """One optimizer step at learning rate `rate`."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = padded_loss(self.model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()

    def validation_loss(self, rows: list[Example]) -> float:
        """Mean loss per learned token, in nats."""
        import torch

        self.model.eval()
        with torch.inference_mode():
            total = sum(padded_loss(self.model, [row]).item() * sum(row.learned) for row in rows)
        return float(total / sum(sum(row.learned) for row in rows))


def _examples(file: Path, spec: JobSpec, tokenizer: Any) -> list[Example]:
    template = Template.parse(spec.prompt_template)
    rows = [parse_row(line, template) for line in file.read_bytes().splitlines()]
    return encode(rows, tokenizer, spec.max_seq_length).examples


def _spec(options: argparse.Namespace, precision: str) -> JobSpec:
    return JobSpec.model_validate(
        {
            "job_id": "cust-benchmark",
            "base_model": "benchmark/base",
            "weights": str(options.weights),
            "dataset_url": "",
            "dataset_limit": None,
            "data_store_url": "",
            "output_repo": ("benchmark", "out"),
            "hyperparameters": Hyperparameters(
                finetuning_type="lora",
                batch_size=options.batch_size,
                learning_rate=options.learning_rate,
                lora=Lora(alpha=32, adapter_dropout=options.dropout),
            ),
            "max_seq_length": 2048,
            "precision": precision,
            "prompt_template": "{prompt} {completion}",
            "chat_prompt_template": None,
            "threads": options.threads,
            "seed": 0,
        }
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.customizer", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=sample_model.folder())
    parser.add_argument("--data", type=Path, default=ROOT / "nemostack/sample_dataset")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def _operations(step: Callable[[], None]) -> int:
    """Count the floating-point operations of a step."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def _peak_seconds(dtype: Any) -> float:
    """Measure how long PEAK_OPERATIONS take in one product of matrices."""
    import torch

    matrix = torch.ones(PEAK_WIDTH, PEAK_WIDTH, dtype=dtype)
    begun = time.perf_counter()
    torch.mm(matrix, matrix)
    return time.perf_counter() - begun


def main() -> None:
    """Run and print one JSON object."""
    options = _parse()
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))  # as the service sets it; helps the plain loop as well
    import torch

    from embedded.customizer.model import TunedModel, load_tokenizer
    from embedded.customizer.training import Run

    torch.set_num_threads(options.threads)
    specs = {precision: _spec(options, precision) for precision in ("fp32", "bf16-mixed")}
    tokenizer = load_tokenizer(specs["fp32"])
    train = _examples(options.data / "train.jsonl", specs["fp32"], tokenizer)
    validation = _examples(options.data / "validation.jsonl", specs["fp32"], tokenizer)[:50]
    plain = PlainLoop(specs["fp32"])
    seconds = dict.fromkeys(("plain PEFT loop", *specs), 0.0)
    tokens, peak_seconds = 0, dict.fromkeys((torch.float32, torch.bfloat16), 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        runs = {}
        for name, spec in specs.items():
            folder = JobFolder(Path(scratch) / name)
            folder.create(spec)
            reporter = Reporter(folder.progress)
            runs[name] = Run(
                spec, folder, TunedModel(spec, reporter), train=train, validation=validation, reporter=reporter
            )
        batches = [b for epoch in range(9) for b in epoch_batches(len(train), options.batch_size, 0, epoch)]
        for number, rows in enumerate(batches[: options.steps + 1]):
            batch = [train[i] for i in rows]
            begun = time.perf_counter()
            plain.step(batch, runs["fp32"].schedule.rate(number))
            taken = {"plain PEFT loop": time.perf_counter() - begun}
            for name, run in runs.items():
                begun = time.perf_counter()
                run.one_step(batch)
                run.after_step(number)
                taken[name] = time.perf_counter() - begun
            if number:  # the first step of each warms up
                tokens += sum(map(len, batch))
                peak_seconds = {dtype: spent + _peak_seconds(dtype) for dtype, spent in peak_seconds.items()}
                seconds = {name: seconds[name] + taken[name] for name in seconds}
        operations = {"plain PEFT loop": _operations(partial(plain.step, batch, 0.0))}
        operations |= {name: _operations(partial(run.one_step, batch)) for name, run in runs.items()}
        peaks = {dtype: options.steps * PEAK_OPERATIONS / spent for dtype, spent in peak_seconds.items()}
        peak = {name: peaks[torch.bfloat16 if name == "bf16-mixed" else torch.float32] for name in seconds}
        losses = {"plain PEFT loop": plain.validation_loss(validation)}
        losses |= {name: run.validation_loss() for name, run in runs.items()}
    result = {
        name: {
            "tokens_per_s": round(tokens / spent),
            "ratio": round(seconds["plain PEFT loop"] / spent, 2),
            "share_of_peak": round(operations[name] / sum(map(len, batch)) * tokens / spent / peak[name], 2),
            "validation_loss": round(losses[name], 4),
        }
        for name, spent in seconds.items()
    }
    setting = {"batch_size": options.batch_size, "dropout": options.dropout, "threads": options.threads}
    print(
        json.dumps(
            {
                **setting,
                "steps": options.steps,
                "peak_gflop_per_s": {name: round(one / 1e9) for name, one in peak.items()},
                "results": result,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
