"""Correctness of training on a GPU, before its speed counts: the same model and rows as on the CPU, in float32 there.

Compares losses and gradients of one batch of the sample dataset, trains a LoRA adapter and all weights for some steps,
and provokes the error of a share that is too small.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from benchmarks.gpu.training import Case, make_spec
from embedded.customizer import devices
from embedded.customizer.progress import Reporter
from embedded.customizer.schemas import Hyperparameters, Lora
from embedded.customizer.spec import JobFolder, JobSpec
from embedded.customizer.tokens import Example, encode
from embedded.customizer.training_rows import Template, parse_row
from nemostack.clone import ROOT

Kind = Literal["lora", "all_weights"]
BATCH = 16


def rows_of(spec: JobSpec) -> list[Example]:
    """Rows of the sample dataset, as a job reads them."""
    from embedded.customizer.model import load_tokenizer

    template = Template.parse(spec.prompt_template)
    lines = (ROOT / "nemostack/sample_dataset/train.jsonl").read_bytes().splitlines()
    rows = [parse_row(line, template) for line in lines[: BATCH * 40]]
    return encode(rows, load_tokenizer(spec), spec.max_seq_length).examples


def terms(weights: Path, kind: Kind, device: str, precision: str, *, fraction: float = 0.9) -> JobSpec:
    """Terms of a job on one device."""
    rate = 1e-3 if kind == "lora" else 1e-4
    hyper = Hyperparameters(finetuning_type=kind, batch_size=BATCH, learning_rate=rate, lora=Lora(adapter_dropout=0.0))
    changes = {"hyperparameters": hyper, "precision": precision, "gpu_memory_fraction": fraction}
    return make_spec(weights, Case(8, BATCH, "equal"), device).model_copy(update=changes)


def loss_and_gradient(spec: JobSpec, batch: list[Example], folder: Path) -> tuple[float, Any]:
    """Mean loss of a batch, and its gradient in one vector on the CPU."""
    import torch

    from embedded.customizer.model import TunedModel

    model = TunedModel(spec, Reporter(folder / "progress.jsonl"))
    torch.manual_seed(1)
    with torch.no_grad():  # a fresh adapter's second matrix is zero, and so is the gradient of its first
        for name, parameter in model.trainable.items():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.02)
            if "lora_A" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.02)
    tokens = sum(sum(row.learned) for row in batch)
    total = 0.0
    for rows in model.passes(batch):
        loss = model.loss_sum(rows) / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss)
    gradient = torch.cat([one.grad.flatten().float().cpu() for one in model.trainable.values() if one.grad is not None])
    return total, gradient


def train(spec: JobSpec, rows: list[Example], steps: int, folder: Path) -> dict[str, Any]:
    """Loss before and after some steps on held-out rows."""
    from embedded.customizer.model import TunedModel
    from embedded.customizer.training import Run

    devices.claim(spec)
    place = JobFolder(folder)
    place.create(spec)
    reporter = Reporter(place.progress)
    validation, learned = rows[:BATCH], rows[BATCH:]
    run = Run(spec, place, TunedModel(spec, reporter), train=learned, validation=validation, reporter=reporter)
    before, started = run.validation_loss(), time.time()
    for step in range(steps):
        run.one_step(learned[step * BATCH % (len(learned) - BATCH) :][:BATCH])
    return {"before": before, "after": run.validation_loss(), "seconds": round(time.time() - started, 2)}


def run(weights: Path, device: str, steps: int) -> dict[str, Any]:
    """All checks; each tells whether it passed, and a check that raises does not stop the others."""
    import torch

    found: dict[str, Any] = {}

    def note(name: str, look: Callable[[], dict[str, Any]]) -> None:
        try:
            found[name] = look()
        except Exception as error:  # noqa: BLE001 - the other checks are worth having
            found[name] = {"passed": False, "error": f"{type(error).__name__}: {error}"[:2000]}
        print(name, found[name], flush=True)

    with tempfile.TemporaryDirectory() as text:
        scratch = Path(text)
        rows = rows_of(terms(weights, "lora", "cpu", "fp32"))

        def same_as_on_the_cpu() -> dict[str, Any]:
            loss, gradient = loss_and_gradient(terms(weights, "lora", "cpu", "fp32"), rows[:BATCH], scratch)
            there, other = loss_and_gradient(terms(weights, "lora", device, "bf16"), rows[:BATCH], scratch)
            cosine = float(torch.nn.functional.cosine_similarity(gradient, other, dim=0))
            passed = abs(loss - there) < 0.02 * loss and cosine > 0.98
            return {"passed": passed, "loss_cpu": loss, "loss": there, "cosine_of_gradients": cosine}

        def learns(kind: Kind) -> dict[str, Any]:
            losses = train(terms(weights, kind, device, "bf16"), rows, steps, scratch / kind)
            return {"passed": losses["after"] < 0.9 * losses["before"], **losses}

        def tells_of_too_little_memory() -> dict[str, Any]:
            spec = terms(weights, "lora", device, "bf16", fraction=0.0005)
            try:
                train(spec, rows, 1, scratch / "small")
            except Exception as error:  # noqa: BLE001
                named = devices.out_of_memory(error)
                return {"passed": named, "error": str(error)[:300], "advice": str(devices.shortage(spec, error))}
            finally:
                devices.claim(terms(weights, "lora", device, "bf16"))
            return {"passed": False, "error": "a job with 0.05 % of the GPU has trained"}

        note("same loss and gradient as on the CPU", same_as_on_the_cpu)
        note("LoRA learns", lambda: learns("lora"))
        note("all weights learn", lambda: learns("all_weights"))
        if device == "cuda":
            note("too little memory is told", tells_of_too_little_memory)
    return found
