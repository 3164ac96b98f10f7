"""The base of all metrics: rendered inputs in, one or more scores for each item out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import Field

from embedded.common.unknown_keys import Tolerant, drop_unknown_keys
from embedded.evaluator.legacy import DEFAULT_TRUTH
from embedded.evaluator.stats import score
from embedded.evaluator.templates import check, render

Context = dict[str, Any]  # {"item": row, "sample": {"output_text", ...}}
Scores = dict[str, list[float]]  # score name -> a value for each item, NaN where there is none
DEFAULT_CANDIDATE = "{{sample.output_text}}"
_Params = TypeVar("_Params", bound=Tolerant)


class Metric(ABC):
    """One configured metric of one task."""

    def __init__(self, params: dict[str, Any], where: str) -> None:
        self.where = where
        self.warnings: list[str] = []
        self.configure(params)

    def read_params(self, model: type[_Params], params: dict[str, Any]) -> _Params:
        """Validate `params` as `model`; unknown keys are dropped and become `warnings`."""
        parsed = model.model_validate(params)
        self.warnings += [f"{self.where}.params: {sentence}" for sentence in drop_unknown_keys(parsed)]
        return parsed

    @abstractmethod
    def configure(self, params: dict[str, Any]) -> None:
        """Take `params`; ValidationError or DataError if they are wrong."""

    @abstractmethod
    def score_items(self, contexts: Sequence[Context]) -> Scores:
        """Values for each item, in order. Items without an output are not among them."""

    def rehearse(self, context: Context) -> None:  # noqa: B027 - most have nothing to do
        """Fail now, with DataError, where templates name columns that the rows have not."""

    def warm(self) -> None:  # noqa: B027 - most have nothing to do
        """Load what is slow to load; runs beside the generations."""

    def results(self, scores: Scores) -> dict[str, Any]:
        """`scores` as the result shows them."""
        return {name: score(values) for name, values in scores.items()}


class ReferenceParams(Tolerant):
    """Templates of the two texts to compare. Several ground truths: the best counts (BLEU uses all at once)."""

    ground_truth: str | list[str] = DEFAULT_TRUTH
    candidate: str = DEFAULT_CANDIDATE


class BleuParams(Tolerant):
    """As NVIDIA's: a list of references."""

    references: list[str] = Field(default=[DEFAULT_TRUTH], min_length=1)
    candidate: str = DEFAULT_CANDIDATE


class ReferenceMetric(Metric):
    """Compares the output with one or more expected texts, all items at once."""

    def configure(self, params: dict[str, Any]) -> None:
        """Take `ground_truth`, or `references` as BLEU calls them."""
        if "references" in params:
            bleu = self.read_params(BleuParams, params)
            self.truths, self.candidate = bleu.references, bleu.candidate
        else:
            parsed = self.read_params(ReferenceParams, params)
            truths = parsed.ground_truth
            self.truths, self.candidate = [truths] if isinstance(truths, str) else truths, parsed.candidate
        check([*self.truths, self.candidate], self.where)

    def texts(self, contexts: Sequence[Context]) -> tuple[list[str], list[list[str]]]:
        """Candidates, and for each item its references."""
        candidates = [render(self.candidate, context, self.where) for context in contexts]
        references = [[render(truth, context, self.where) for truth in self.truths] for context in contexts]
        return candidates, references

    def rehearse(self, context: Context) -> None:
        self.texts([context])

    def score_items(self, contexts: Sequence[Context]) -> Scores:
        """Scores of the rendered texts."""
        return self.compare(*self.texts(contexts)) if contexts else {}

    @abstractmethod
    def compare(self, candidates: list[str], references: list[list[str]]) -> Scores:
        """Scores of texts; for the metric's own arithmetic."""
