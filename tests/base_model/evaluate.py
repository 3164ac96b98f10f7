"""Measure the model on held-out items: as it is, with examples in the chat, and after LoRA tuning.

    python -m tests.base_model.evaluate --data nemostack/sample_dataset --items 100 --shots 3 --lora

The same items are used for every row of the table; intervals are 95 % percentile bootstrap over items. ROUGE-L is the
LCS F1 over lower-case words and digits, as the rouge-score package computes it without stemming.
"""

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.base_model import WEIGHTS

Row = dict[str, str]
Messages = list[dict[str, str]]
METRICS = ("rouge_l", "bleu", "f1", "exact")
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Lora:
    """Hyperparameters of the tuning run, named as NeMo Customizer names them."""

    adapter_dim: int = 8
    alpha: int = 32
    adapter_dropout: float = 0.0
    learning_rate: float = 5e-3
    epochs: int = 1
    batch_size: int = 8
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    seed: int = 0


def rouge_l(prediction: str, reference: str) -> float:
    """F1 of the longest common subsequence of words."""
    left, right = _WORD.findall(prediction.lower()), _WORD.findall(reference.lower())
    previous = [0] * (len(right) + 1)
    for word in left:
        current = [0]
        for index, other in enumerate(right):
            current.append(previous[index] + 1 if word == other else max(previous[index + 1], current[-1]))
        previous = current
    common = previous[-1]
    return 2 * common / (len(left) + len(right)) if common else 0.0


def token_f1(prediction: str, reference: str) -> float:
    """F1 of the bags of words."""
    left, right = _WORD.findall(prediction.lower()), _WORD.findall(reference.lower())
    common = sum((Counter(left) & Counter(right)).values())
    return 2 * common / (len(left) + len(right)) if common else 0.0


def score(predictions: Sequence[str], references: Sequence[str]) -> dict[str, Interval]:
    """All metrics with intervals."""
    import sacrebleu

    rows = np.array(
        [
            (
                rouge_l(prediction, reference),
                sacrebleu.sentence_bleu(prediction, [reference]).score / 100,
                token_f1(prediction, reference),
                float(prediction == reference),
            )
            for prediction, reference in zip(predictions, references, strict=True)
        ]
    )
    draws = np.random.default_rng(0).integers(0, len(rows), (2000, len(rows)))
    low, high = np.percentile(rows[draws].mean(axis=1), (2.5, 97.5), axis=0)
    means = rows.mean(axis=0)
    return {name: Interval(float(means[i]), float(low[i]), float(high[i])) for i, name in enumerate(METRICS)}


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def ask(row: Row, examples: Sequence[Row] = ()) -> Messages:
    """Return a chat whose earlier turns are the examples."""
    messages: Messages = []
    for example in examples:
        messages.append({"role": "user", "content": example["prompt"]})
        messages.append({"role": "assistant", "content": example["completion"]})
    return [*messages, {"role": "user", "content": row["prompt"]}]


class Bench:
    """A model with its tokenizer on one device."""

    def __init__(self, folder: Path, device: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.device = device
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model: Any = loaded.to(device).eval()

    def answer(self, chats: Sequence[Messages], *, batch: int = 25, limit: int = 96) -> list[str]:
        """Greedy answers."""
        import torch

        answers = [""] * len(chats)
        texts = [self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
        order = sorted(range(len(chats)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            encoded = self.tokenizer(
                [texts[index] for index in chosen], return_tensors="pt", padding=True, add_special_tokens=False
            ).to(self.device)
            with torch.inference_mode():
                output = self.model.generate(
                    input_ids=encoded["input_ids"],
                    attention_mask=encoded["attention_mask"],
                    do_sample=False,
                    max_new_tokens=limit,
                )
            new = output[:, encoded["input_ids"].shape[1] :]
            for index, ids in zip(chosen, new, strict=True):
                answers[index] = self.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return answers

    def _encode(self, row: Row) -> tuple[list[int], int]:
        """Return the tokens of an item and how many of them belong to the completion."""
        prompt = self.tokenizer.apply_chat_template(ask(row), tokenize=False, add_generation_prompt=True)
        head = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        tail = self.tokenizer(row["completion"] + self.tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        return head + tail, len(tail)

    def _loss(self, items: Sequence[tuple[list[int], int]]) -> Any:
        """Mean loss of the completions. Padding is on the left, so that logits are needed for the last tokens only."""
        import torch

        width, keep = max(len(ids) for ids, _ in items), max(size for _, size in items)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(ids)) + ids for ids, _ in items], device=self.device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids, _ in items], device=self.device)
        labels = torch.tensor([[-100] * (keep - size) + ids[-size:] for ids, size in items], device=self.device)
        logits = self.model(input_ids=ids, attention_mask=mask, logits_to_keep=keep + 1).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)

    def tune(self, rows: Sequence[Row], lora: Lora) -> dict[str, Any]:
        """Add a LoRA adapter and train it on the completions; returns what it cost and the curve."""
        import torch
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(lora.seed)
        rng = random.Random(lora.seed)
        config = LoraConfig(
            r=lora.adapter_dim,
            lora_alpha=lora.alpha,
            lora_dropout=lora.adapter_dropout,
            target_modules=list(lora.targets),
            task_type="CAUSAL_LM",
        )
        self.model = get_peft_model(self.model, config)
        self.model.train()
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=lora.learning_rate, weight_decay=lora.weight_decay)
        items = [self._encode(row) for row in rows]
        began, losses = time.monotonic(), []
        batches: list[list[int]] = []
        for _ in range(lora.epochs):
            batches += _grouped([len(ids) for ids, _ in items], lora.batch_size, rng)
        warmup = max(1, round(len(batches) * lora.warmup_share))
        for step, chosen in enumerate(batches):
            share = min(1.0, (step + 1) / warmup, (len(batches) - step) / max(1, len(batches) - warmup))
            for group in optimizer.param_groups:
                group["lr"] = lora.learning_rate * share
            loss = self._loss([items[index] for index in chosen])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(float(loss.detach()))
        self.model.eval()
        return {
            "seconds": round(time.monotonic() - began, 1),
            "steps": len(batches),
            "trainable": sum(parameter.numel() for parameter in trained),
            "losses": [round(float(np.mean(part)), 3) for part in np.array_split(losses, 10)],
        }

    def loss(self, rows: Sequence[Row], batch: int = 50) -> float:
        """Mean loss of the completions of held-out rows."""
        import torch

        with torch.inference_mode():
            parts = [
                float(self._loss([self._encode(row) for row in rows[start : start + batch]]))
                for start in range(0, len(rows), batch)
            ]
        return float(np.mean(parts))


def _grouped(lengths: Sequence[int], size: int, rng: random.Random) -> list[list[int]]:
    """Shuffled batches of items of like length."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches = []
    for start in range(0, len(order), size * 16):
        pool = sorted(order[start : start + size * 16], key=lengths.__getitem__)
        batches += [pool[at : at + size] for at in range(0, len(pool), size)]
    rng.shuffle(batches)
    return batches


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the base model on held-out items.")
    parser.add_argument("--model", type=Path, default=WEIGHTS)
    parser.add_argument("--data", type=Path, default=Path("nemostack/sample_dataset"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--shots", type=int, nargs="*", default=[3])
    parser.add_argument("--example-seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--lora", action="store_true", help="tune on the training split and measure that too")
    parser.add_argument("--train-items", type=int, default=10**6)
    parser.add_argument("--epochs", type=int, default=Lora.epochs)
    parser.add_argument("--batch-size", type=int, default=Lora.batch_size)
    parser.add_argument("--learning-rate", type=float, default=Lora.learning_rate)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=0, help="answers to print for each row")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    test = read_rows(options.data / f"{options.split}.jsonl")[: options.items]
    train = read_rows(options.data / "train.jsonl")[: options.train_items]
    bench = Bench(options.model, options.device)

    def report(name: str, examples: Sequence[Row] = ()) -> None:
        began = time.monotonic()
        answers = bench.answer([ask(row, examples) for row in test])
        seconds = time.monotonic() - began
        scores = score(answers, [row["completion"] for row in test])
        cells = " | ".join(str(scores[metric]) for metric in METRICS)
        print(f"| {name} | {cells} | {seconds:.0f} s |", flush=True)
        for answer, row in list(zip(answers, test, strict=True))[: options.show]:
            print(f"    expected {row['completion']}\n    answered {answer}")

    print(f"| {len(test)} items | ROUGE-L | sentence BLEU | token F1 | exact match | time |\n|---|---|---|---|---|---|")
    report("zero-shot")
    for shots in options.shots:
        for seed in options.example_seeds:
            report(f"{shots}-shot, examples {seed}", random.Random(seed).sample(train, shots))
    if options.lora:
        lora = Lora(epochs=options.epochs, batch_size=options.batch_size, learning_rate=options.learning_rate)
        cost = bench.tune(train, lora)
        report("LoRA")
        print(f"LoRA: {cost}")


if __name__ == "__main__":
    main()
