"""The training loop: from examples to the best checkpoint. Interruptible at any point, resumed to the same result.

Rows of a step depend on the seed and the epoch, dropout on the seed and the step, so a job resumed from a checkpoint
takes exactly the steps that it would have taken.
"""

import math
import os
import time
from pathlib import Path
from typing import Any

import torch

from embedded.customizer.batches import epoch_batches
from embedded.customizer.model import TunedModel
from embedded.customizer.progress import Reporter
from embedded.customizer.replicas import ALONE, Replicas
from embedded.customizer.schedule import MIN_IMPROVEMENT, Schedule
from embedded.customizer.spec import MAX_GRADIENT_NORM, JobError, JobFolder, JobSpec
from embedded.customizer.tokens import Example

CHECKPOINT_EVERY_S = 20.0
DROPOUT_STRIDE = 2**40
"""Between the seeds of two processes at the same step: far more than there are steps."""


def _save(path: Path, content: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _optimizer(spec: JobSpec, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    hyper, recipe = spec.hyperparameters, spec.recipe
    algorithm = recipe.algorithm if recipe else hyper.optimizer.partition("_")[0]
    rate, decay = hyper.learning_rate, hyper.weight_decay
    if algorithm == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, fused=True)
    kind = torch.optim.AdamW if algorithm == "adamw" else torch.optim.Adam
    betas, epsilon = (hyper.adam_beta1, hyper.adam_beta2), recipe.adam_epsilon if recipe else 1e-8
    return kind(parameters, lr=rate, betas=betas, eps=epsilon, weight_decay=decay, fused=True)


def _sum(losses: list[torch.Tensor]) -> float:
    return float(torch.stack(losses).double().sum()) if losses else 0.0


class Run:
    """One job's training."""

    def __init__(
        self,
        spec: JobSpec,
        folder: JobFolder,
        model: TunedModel,
        *,
        train: list[Example],
        validation: list[Example],
        reporter: Reporter,
        replicas: Replicas = ALONE,
    ) -> None:
        hyper = spec.hyperparameters
        self._replicas = replicas
        self._spec, self._folder, self._model, self._reporter = spec, folder, model, reporter
        self._train, self._validation = train, validation
        self.schedule = Schedule.plan(hyper, len(train), spec.recipe)
        self._parameters = list(model.trainable.values())
        self._optimizer = _optimizer(spec, self._parameters)
        self._largest_norm = spec.recipe.max_gradient_norm if spec.recipe else MAX_GRADIENT_NORM
        self._norm: torch.Tensor | None = None  # of the last step's gradient, as it was before clipping
        self.step = 0  # steps done
        self._window = [0.0, 0]  # loss sum and learned tokens since the last log
        self._best_loss, self._best_step = math.inf, -1
        self._improved_loss, self._improved_at = math.inf, 0
        self._saved_at = time.monotonic()

    def resume(self) -> bool:
        """Take up the last checkpoint, if there is one."""
        if not self._folder.checkpoint.exists():
            return False
        saved = torch.load(self._folder.checkpoint, weights_only=True, map_location=self._spec.device)
        self._model.restore(saved["weights"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self.step, self._window = saved["step"], saved["window"]
        self._best_loss, self._best_step = saved["best"]
        self._improved_loss, self._improved_at = saved["improved"]
        return True

    def checkpoint(self) -> None:
        """Keep all that `resume` needs."""
        self._saved_at = time.monotonic()
        if not self._replicas.leads:
            return
        content = {
            "weights": self._model.tensors(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "window": self._window,
            "best": (self._best_loss, self._best_step),
            "improved": (self._improved_loss, self._improved_at),
        }
        _save(self._folder.checkpoint, content)

    def train(self) -> int:
        """All steps that remain; afterwards the first process's model holds the best checkpoint.

        Returns its step (from 0).
        """
        schedule, stopped = self.schedule, False
        self._reporter.plan(schedule.steps_per_epoch, schedule.total_steps, self.step)
        self._model.core.train()
        epoch, batches = -1, []
        while self.step < schedule.total_steps and not stopped:
            if self.step // schedule.steps_per_epoch != epoch:
                epoch = self.step // schedule.steps_per_epoch
                batches = epoch_batches(len(self._train), self._spec.hyperparameters.batch_size, self._spec.seed, epoch)
            self.one_step([self._train[i] for i in batches[self.step % schedule.steps_per_epoch]])
            stopped = self.after_step(self.step - 1)
        if self._replicas.leads:
            self._model.restore(torch.load(self._folder.best, weights_only=True, map_location="cpu"))
        return self._best_step

    def one_step(self, batch: list[Example]) -> None:
        """Take one optimizer step on `batch`."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        tokens = sum(sum(example.learned) for example in batch)
        total = self._total(self._add_gradient(self._replicas.share(batch), tokens))
        self._replicas.add_gradients(self._parameters)
        if not math.isfinite(total):
            raise JobError(
                f"the training loss is not a number at step {self.step}",
                "Lower learning_rate, or lengthen warmup_steps.",
            )
        self._norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._largest_norm or math.inf)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._window = [self._window[0] + total, self._window[1] + tokens]
        self.step += 1

    def _add_gradient(self, batch: list[Example], tokens: int) -> float:
        """Compute the part of these rows in the mean loss's gradient; return the sum of their losses.

        Passes that are too large for a GPU are made smaller.
        """
        while True:
            torch.manual_seed(self._spec.seed * 1_000_003 + self.step + self._replicas.rank * DROPOUT_STRIDE)
            passes = self._model.passes(batch)
            try:
                losses = []
                for rows in passes:
                    loss = self._model.loss_sum(rows)
                    (loss / tokens).backward()  # type: ignore[no-untyped-call]
                    losses.append(loss.detach())
                return _sum(losses)  # once a step, for a GPU has to be waited for
            except torch.OutOfMemoryError:
                if len(passes) == len(batch):  # a single row does not fit
                    raise
            self._optimizer.zero_grad()
            torch.cuda.empty_cache()
            self._model.pass_tokens = max(sum(map(len, rows)) for rows in passes) // 2
            self._reporter.log("passes made smaller", f"{self._model.pass_tokens} tokens: the GPU's memory ran out")

    def after_step(self, step: int) -> bool:
        """Log, validate and keep what is due after `step` (from 0); True when training should end early."""
        if self.schedule.logs_after(step):
            norm = None if self._norm is None else float(self._norm)
            loss = self._window[0] / self._window[1]
            self._reporter.train_loss(step, loss, learning_rate=self.schedule.rate(step), gradient_norm=norm)
            self._window = [0.0, 0]
        self._reporter.step(self.step)
        validates = self.schedule.validates_after(step)
        if validates:
            self._validate(step)
        if validates or time.monotonic() - self._saved_at > CHECKPOINT_EVERY_S:
            self.checkpoint()
        if validates and self.schedule.gives_up(step, self._improved_at):
            self._reporter.log(
                "stopped early", f"validation loss has not improved by {MIN_IMPROVEMENT} since step {self._improved_at}"
            )
            return True
        return False

    def _validate(self, step: int) -> None:
        loss = self.validation_loss()
        self._reporter.val_loss(step, loss)
        if loss < self._best_loss:
            self._best_loss, self._best_step = loss, step
            if self._replicas.leads:
                _save(self._folder.best, self._model.tensors())
        if loss < self._improved_loss - MIN_IMPROVEMENT:
            self._improved_loss, self._improved_at = loss, step

    def validation_loss(self) -> float:
        """Mean loss per learned token of the validation rows, in nats."""
        self._model.core.eval()
        with torch.inference_mode():
            rows = self._model.passes(self._replicas.share(self._validation))
            total = self._total(_sum([self._model.loss_sum(passed) for passed in rows]))
        self._model.core.train()
        return total / sum(sum(example.learned) for example in self._validation)

    def _total(self, loss: float) -> float:
        return self._replicas.total(loss, self._spec.device)
