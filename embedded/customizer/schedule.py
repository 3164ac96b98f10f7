"""The schedule of a training run: when it logs, validates and stops, and its learning rate at each step."""

import math
from dataclasses import dataclass

from embedded.customizer.schemas import Hyperparameters
from embedded.customizer.spec import Recipe

PATIENCE_EPOCHS = 10
MIN_IMPROVEMENT = 0.001
POINTS = 20
WARMUP_STEPS = 200  # NVIDIA's documented default; a run of fewer than 2,000 steps warms up for a tenth of them


@dataclass(frozen=True)
class Schedule:
    """Steps count from 0; `after(step)` questions are asked when that step is done."""

    steps_per_epoch: int
    total_steps: int
    val_every: int
    log_every: int
    warmup: int
    learning_rate: float
    min_learning_rate: float
    decay: str
    restarts: int = 1

    @classmethod
    def plan(cls, hyper: Hyperparameters, rows: int, recipe: Recipe | None = None) -> "Schedule":
        """Make the schedule for `rows` training rows. A recipe goes before what the hyperparameters say."""
        per_epoch = math.ceil(rows / hyper.batch_size)
        total = per_epoch * hyper.epochs
        if hyper.max_steps and hyper.max_steps > 0:
            total = min(total, hyper.max_steps)
        interval = hyper.val_check_interval
        if interval is None:
            every = per_epoch
        elif isinstance(interval, float) and interval <= 1:
            every = max(1, round(interval * per_epoch))
        else:
            every = min(int(interval), per_epoch)
        if hyper.max_steps and 0 < hyper.max_steps < every:
            every = max(1, hyper.max_steps - 1)
        low = hyper.min_learning_rate or 0.1 * hyper.learning_rate
        warmup = min(WARMUP_STEPS, total // 10) if hyper.warmup_steps is None else hyper.warmup_steps
        if recipe and recipe.warmup_ratio:
            warmup = math.ceil(recipe.warmup_ratio * total)
        flat = not hyper.optimizer.endswith("cosine_annealing")
        return cls(
            steps_per_epoch=per_epoch,
            total_steps=total,
            val_every=every,
            # Ten as NeMo's default; a run too short for twenty points then logs more often.
            log_every=hyper.log_every_n_steps or max(1, min(10, total // POINTS)),
            warmup=warmup,
            learning_rate=hyper.learning_rate,
            min_learning_rate=recipe.final_learning_rate if recipe else low,
            decay=recipe.decay if recipe else "constant" if flat else "cosine",
            restarts=recipe.restarts if recipe else 1,
        )

    def rate(self, step: int) -> float:
        """Learning rate of a step: up from the minimum during warm-up, then back to it along the decay, or flat."""
        low, high = self.min_learning_rate, self.learning_rate
        if step < self.warmup:
            return low + (high - low) * (step + 1) / self.warmup
        if self.decay == "constant":
            return high
        done = (step - self.warmup) / max(1, self.total_steps - self.warmup)
        if self.decay == "linear":
            return high + (low - high) * done
        if self.decay == "cosine_with_restarts":
            done = done * self.restarts % 1
        return low + (high - low) * (1 + math.cos(math.pi * done)) / 2

    def logs_after(self, step: int) -> bool:
        """Whether the training loss is reported."""
        return (step + 1) % self.log_every == 0 or step + 1 == self.total_steps

    def validates_after(self, step: int) -> bool:
        """Whether the validation loss is measured: every interval, counted within each epoch, and at the end."""
        in_epoch = step % self.steps_per_epoch + 1
        return in_epoch % self.val_every == 0 or step + 1 == self.total_steps

    def gives_up(self, step: int, improved_at: int) -> bool:
        """Early stopping: no improvement of MIN_IMPROVEMENT for PATIENCE_EPOCHS epochs."""
        return step - improved_at >= PATIENCE_EPOCHS * self.steps_per_epoch
