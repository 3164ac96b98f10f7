"""Customizer beside a plain PEFT loop on one GPU: tokens/s and MFU by LoRA rank and batch size, step by step in turns.

The plain loop is what PEFT's documentation shows: a bf16 base model, `target_modules="all-linear"`, a batch padded to
its longest row, AdamW. The Customizer's step is its own, without reports and validation. MFU counts the operations that
the task needs (forward and backward through frozen weights, the adapter, attention, the output layer where a token is
learned), the same for both, over the tokens that are not padding.
"""

import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.models import Shape
from benchmarks.gpu.statistics import interval, ratio
from benchmarks.padding import padded_loss
from embedded.customizer.progress import Reporter
from embedded.customizer.schemas import Hyperparameters, Lora
from embedded.customizer.spec import JobFolder, JobSpec
from embedded.customizer.tokens import Example

PEAK_TFLOPS = 989.0  # H200 and H100 SXM, dense bf16, by NVIDIA's datasheet
PLAIN, OURS = "plain PEFT loop", "Customizer"


@dataclass(frozen=True)
class Case:
    """One setting that is measured."""

    rank: int
    batch_size: int
    lengths: str  # "equal": all rows as long; "mixed": evenly spread between an eighth of that and one and a half


@dataclass
class Outcome:
    """What one case gave. `step_seconds` holds one value a step and side, in the order measured."""

    case: Case
    tokens_per_step: list[int] = field(default_factory=list)
    step_seconds: dict[str, list[float]] = field(default_factory=lambda: {PLAIN: [], OURS: []})
    peak_gib: dict[str, float] = field(default_factory=dict)
    problem: str = ""


class PlainLoop:
    """PEFT as its documentation shows it."""

    def __init__(self, weights: Path, rank: int, device: str) -> None:
        import peft
        import torch
        from transformers import AutoModelForCausalLM

        base: Any = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.bfloat16)
        base.to(device)
        config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        self.model: Any = peft.get_peft_model(base, config).train()
        self.device = device
        self._parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self._parameters, lr=1e-4)

    def step(self, batch: list[Example]) -> float:
        """Take one optimizer step; the loss."""
        import torch

        loss = padded_loss(self.model, batch, self.device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


def make_rows(shape: Shape, case: Case, count: int, length: int) -> list[Example]:
    """Rows of random tokens, of which the second half is learned."""
    numbers = random.Random(case.batch_size)
    rows = []
    for _ in range(count):
        size = length if case.lengths == "equal" else numbers.randrange(length // 8, length * 3 // 2)
        ids = [numbers.randrange(100, min(shape.vocabulary, 6000)) for _ in range(size)]
        rows.append(Example(ids, [position >= size // 2 for position in range(size)]))
    return rows


def operations(shape: Shape, rank: int, row: Example) -> float:
    """Floating-point operations that one row needs: 2 a weight and token forward, as many backward, adapters thrice."""
    tokens, learned = len(row), sum(row.learned)
    attention = 2 * 2 * shape.layers * shape.heads * shape.head_dim * tokens * tokens / 2  # scores and values, causal
    through_frozen = 4 * shape.linear_parameters * tokens
    head = 4 * shape.hidden * shape.vocabulary * learned
    return through_frozen + 6 * shape.lora_parameters(rank) * tokens + head + 3.5 * attention


def make_spec(weights: Path, case: Case, device: str) -> JobSpec:
    """Terms of a job as the service writes them."""
    return JobSpec(
        job_id="cust-benchmark",
        base_model="benchmark/base",
        weights=str(weights),
        dataset_url="",
        dataset_limit=None,
        data_store_url="",
        output_repo=("benchmark", "out"),
        hyperparameters=Hyperparameters(
            finetuning_type="lora",
            batch_size=case.batch_size,
            learning_rate=1e-4,
            lora=Lora(adapter_dim=case.rank, alpha=2 * case.rank, adapter_dropout=0.0),
        ),
        max_seq_length=2048,
        precision="bf16",
        prompt_template="{prompt} {completion}",
        chat_prompt_template=None,
        threads=4,
        seed=0,
        device="cuda" if device == "cuda" else "cpu",
        gpus=(0,) if device == "cuda" else (),
        gpu_memory_fraction=0.95,
    )


def _timed(device: str, step: Any, batch: list[Example]) -> float:
    import torch

    started = time.perf_counter()
    step(batch)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(
    shape: Shape, weights: Path, rank: int, cases: Sequence[Case], *, steps: int, length: int, device: str
) -> list[Outcome]:
    """All cases of one rank, whose models are loaded once."""
    import torch

    from embedded.customizer.model import TunedModel
    from embedded.customizer.training import Run

    plain = PlainLoop(weights, rank, device)
    outcomes = []
    with tempfile.TemporaryDirectory() as scratch:
        model = TunedModel(make_spec(weights, cases[0], device), Reporter(Path(scratch) / "progress.jsonl"))
        for number, case in enumerate(cases):
            rows = make_rows(shape, case, case.batch_size * (steps + 2), length)
            spec = make_spec(weights, case, device)
            folder = JobFolder(Path(scratch) / str(number))
            folder.create(spec)
            reporter = Reporter(folder.progress)
            run = Run(spec, folder, model, train=rows, validation=rows[:1], reporter=reporter)
            sides = {PLAIN: plain.step, OURS: run.one_step}
            outcome = Outcome(case)
            outcomes.append(outcome)
            try:
                for step in range(steps + 2):
                    batch = rows[step * case.batch_size : (step + 1) * case.batch_size]
                    warm = step >= 2
                    if warm:
                        outcome.tokens_per_step.append(sum(map(len, batch)))
                    for name in list(sides)[:: 1 if step % 2 else -1]:
                        if device == "cuda":
                            torch.cuda.reset_peak_memory_stats()
                        seconds = _timed(device, sides[name], batch)
                        if warm:
                            outcome.step_seconds[name].append(seconds)
                        if device == "cuda":
                            outcome.peak_gib[name] = torch.cuda.max_memory_allocated() / 2**30
            except torch.OutOfMemoryError as error:
                outcome.problem = f"out of memory: {str(error).split('. ')[0]}"
                plain.optimizer.zero_grad()
                torch.cuda.empty_cache()
            print(json.dumps(asdict(outcome)), flush=True)
    return outcomes


def summarize(shape: Shape, outcomes: Sequence[Outcome], length: int) -> list[dict[str, Any]]:
    """One row a case: tokens/s, MFU, ratio with its interval, memory."""
    table = []
    for outcome in outcomes:
        case = outcome.case
        rows = make_rows(shape, case, case.batch_size * (len(outcome.tokens_per_step) + 2), length)[
            2 * case.batch_size :
        ]
        needed = sum(operations(shape, case.rank, row) for row in rows) / max(1, len(outcome.tokens_per_step))
        line: dict[str, Any] = asdict(case) | {"problem": outcome.problem, "peak_gib": outcome.peak_gib}
        if not outcome.problem and outcome.tokens_per_step:
            for name, seconds in outcome.step_seconds.items():
                speeds = [tokens / spent for tokens, spent in zip(outcome.tokens_per_step, seconds, strict=True)]
                median, low, high = interval(speeds)
                line[name] = {
                    "tokens_per_s": round(median),
                    "interval": [round(low), round(high)],
                    "step_ms": round(1000 * interval(seconds)[0], 1),
                    "mfu": round(needed / interval(seconds)[0] / 1e12 / PEAK_TFLOPS, 4),
                }
            value, low, high = ratio(outcome.step_seconds[PLAIN], outcome.step_seconds[OURS])
            line["ratio"] = {"value": round(value, 3), "interval": [round(low, 3), round(high, 3)]}
        table.append(line)
    return table
