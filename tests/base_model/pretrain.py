"""Train the base model from scratch on the generated stream, for a given time.

    python -m tests.base_model.tokenizer --out tests/base_model/weights
    python -m tests.base_model.pretrain --out tests/base_model/weights --seconds 480

Matrices inside the layers are trained with Muon, embeddings and norms with AdamW. The learning rate warms up, stays and
then falls to zero by the end of the given time. Needs one CUDA device and many processor cores; `--device cpu` is for
trying the code.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.base_model.batches import BatchSource
from tests.base_model.export import export
from tests.base_model.network import Network, Shape, weighted_loss


def rate(progress: float, step: int, warmup: int, decay: float) -> float:
    """Share of the peak learning rate at this point of training."""
    falling = 1.0 if progress < 1 - decay else max(0.0, (1 - progress) / decay)
    return min(1.0, (step + 1) / warmup) * max(0.01, falling)


def optimizers(network: Network, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest."""
    matrices = [parameter for parameter in network.layers.parameters() if parameter.dim() == 2]
    others = [parameter for parameter in network.parameters() if parameter.dim() == 1]
    embedding = network.embed_tokens.weight
    return [
        torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": [embedding], "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
            lr=learning_rate,
            betas=(0.9, 0.98),
            eps=1e-9,
        ),
    ]


class Trainer:
    """One training run."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        torch.backends.cuda.matmul.allow_tf32 = True
        self.options = options
        self.shape = Shape(width=options.width, layers=options.layers, heads=options.heads, hidden=options.hidden)
        self.network = Network(self.shape).to(options.device)
        self.optimizers = optimizers(self.network, options.learning_rate)
        self.loss = weighted_loss
        if options.device == "cuda":
            # Layers are alike: compiling one layer instead of the whole network compiles once a length, not six times.
            for block in self.network.layers:
                block.compile(dynamic=False)
            self.loss = torch.compile(weighted_loss, dynamic=False)

    def step(self, tokens: Tensor, weights: Tensor, share: float) -> Tensor:
        """One update; returns the three losses."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.options.learning_rate * share
        on_gpu = self.options.device == "cuda"
        with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            hidden = self.network(tokens[:, :-1])
            embedding = self.network.embed_tokens.weight
            losses = self.loss(hidden, embedding, tokens[:, 1:], weights[:, 1:], self.options.context_weight)
        torch.autograd.backward(losses[0])
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return losses.detach()

    def run(self, source: BatchSource) -> dict[str, object]:
        """Train until the time is over."""
        options = self.options
        began = time.monotonic()
        clock: float | None = None  # starts after the first steps, which compile
        step, log = 0, []
        while step < options.max_steps:
            elapsed = 0.0 if clock is None else time.monotonic() - clock
            if elapsed > options.seconds:
                break
            progress = max(elapsed / options.seconds, step / options.max_steps)
            length, tokens, weights = source.next()
            losses = self.step(
                torch.from_numpy(tokens.astype("int64")).to(options.device, non_blocking=True),
                torch.from_numpy(weights).to(options.device, non_blocking=True),
                rate(progress, step, options.warmup, options.decay),
            )
            step += 1
            if step == options.untimed:
                clock = time.monotonic()
            if step % options.log_every == 0:
                row = [round(value, 4) for value in losses.tolist()]
                log.append([step, length, *row])
                print(
                    f"step {step} length {length} loss {row[0]} answers {row[1]} context {row[2]} "
                    f"tokens {source.counts.used / 1e6:.0f}M fresh {source.counts.fresh / 1e6:.0f}M "
                    f"{time.monotonic() - began:.0f}s",
                    flush=True,
                )
        return {
            "steps": step,
            "tokens": source.counts.used,
            "fresh_tokens": source.counts.fresh,
            "seconds": round(time.monotonic() - began, 1),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "shape": self.shape.describe(),
            "learning_rate": options.learning_rate,
            "batch_tokens": options.batch_tokens,
            "log": log,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the base model from scratch.")
    parser.add_argument("--out", type=Path, required=True, help="folder that holds the tokenizer and gets the weights")
    parser.add_argument("--record", type=Path, help="file for the training record (JSON)")
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=15)
    parser.add_argument("--width", type=int, default=Shape.width)
    parser.add_argument("--layers", type=int, default=Shape.layers)
    parser.add_argument("--heads", type=int, default=Shape.heads)
    parser.add_argument("--hidden", type=int, default=Shape.hidden)
    parser.add_argument("--batch-tokens", type=int, default=65_536)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--decay", type=float, default=0.5, help="share of the time in which the learning rate falls")
    parser.add_argument("--context-weight", type=float, default=0.1)
    parser.add_argument("--reuse", type=float, default=3.0, help="how often a piece may be used on average")
    parser.add_argument("--untimed", type=int, default=40, help="steps that do not count towards --seconds")
    parser.add_argument("--log-every", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    source = BatchSource(
        options.out / "tokenizer.json",
        workers=options.workers,
        batch_tokens=options.batch_tokens,
        seed=options.seed,
        reuse=options.reuse,
    )
    try:
        trainer = Trainer(options)
        record = trainer.run(source)
    finally:
        source.close()
    path = export(trainer.network, trainer.shape, options.out)
    if options.record:
        options.record.write_text(json.dumps(record) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes, {record['steps']} steps, {record['seconds']} s")


if __name__ == "__main__":
    main()
