"""Which hyperparameters come next, and which trial is not worth its time: by Optuna.

The study lives in memory. A resumed sweep tells it everything again that the records of the trials hold, so that it
stands where it stood. Successive halving is Optuna's asynchronous one: at each rung, a trial whose validation loss is
not among the best of those that came so far is pruned.
"""

import random
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workflows.sweep.space import Choice, SweepSettings

if TYPE_CHECKING:
    from optuna.trial import Trial


class Search:
    """One search, trial after trial."""

    def __init__(self, settings: SweepSettings, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._settings, self._seed = settings, seed
        self._study = optuna.create_study(
            direction="minimize",
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=settings.reduction)
            if settings.search == "halving"
            else optuna.pruners.NopPruner(),
        )
        if settings.search == "grid":
            for choice in settings.grid(seed):
                self._study.enqueue_trial(choice.model_dump())

    def next(self, known: Choice | None = None) -> "Attempt":
        """Begin the next trial: with hyperparameters that were chosen before, or newly chosen ones."""
        import optuna

        settings, number = self._settings, len(self._study.trials)
        if settings.search == "tpe":
            startup = min(5, settings.count)
            self._study.sampler = optuna.samplers.TPESampler(seed=self._seed_of(number), n_startup_trials=startup)
        else:
            self._study.sampler = optuna.samplers.RandomSampler(seed=self._seed_of(number))
        if known is not None and settings.search != "grid":
            self._study.enqueue_trial(known.model_dump())
        return Attempt(self._study.ask(), self._settings)

    def _seed_of(self, number: int) -> int:
        """A seed of its own for each trial: what is drawn does not depend on an interruption before it."""
        return random.Random(f"{self._seed} {number}").getrandbits(32)

    def replay(self, choice: Choice, losses: Sequence[float], *, ended: str) -> None:
        """Tell of a trial that has ended before: its losses in order, and as what it ended."""
        attempt = self.next(choice)
        for loss in losses:
            attempt.report(loss)
        self.end(attempt, losses, ended=ended)

    def end(self, attempt: "Attempt", losses: Sequence[float], *, ended: str) -> None:
        """Tell how a trial ended: completed, pruned or failed."""
        from optuna.trial import TrialState

        if ended == "completed":
            self._study.tell(attempt.trial, min(losses))
        elif ended == "pruned":
            self._study.tell(attempt.trial, state=TrialState.PRUNED)
        else:
            self._study.tell(attempt.trial, state=TrialState.FAIL)


class Attempt:
    """A trial while it runs."""

    def __init__(self, trial: "Trial", settings: SweepSettings) -> None:
        self.trial = trial
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # enqueued values may lie outside of a range that was changed
            low, high = settings.rate_range
            rate = (
                trial.suggest_categorical("learning_rate", list(dict.fromkeys(settings.learning_rates)))
                if settings.search == "grid"
                else trial.suggest_float("learning_rate", low, high, log=True)
            )
            self.choice = Choice(
                adapter_dim=trial.suggest_categorical("adapter_dim", list(dict.fromkeys(settings.ranks))),
                learning_rate=float(rate),
                epochs=trial.suggest_categorical("epochs", list(dict.fromkeys(settings.epochs))),
            )
        self._reported = 0

    def report(self, loss: float) -> bool:
        """Tell the next validation loss; whether the trial should be given up."""
        self._reported += 1
        self.trial.report(loss, self._reported)
        return bool(self.trial.should_prune())
