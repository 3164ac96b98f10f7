"""What a metric is: rendered inputs in, one or more scores for each item out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from embedded.evaluator.documents import Strict
from embedded.evaluator.legacy import DEFAULT_TRUTH
from embedded.evaluator.stats import score
from embedded.evaluator.templates import check, render

Context = dict[str, Any]  # {"item": row, "sample": {"output_text", ...}}
Scores = dict[str, list[float]]  # score name -> a value for each item, NaN where there is none
DEFAULT_CANDIDATE = "{{sample.output_text}}"


class Metric(ABC):
    """One configured metric of one task."""

    def __init__(self, params: dict[str, Any], where: str) -> None:
        self.where = where
        self.configure(params)

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


class ReferenceParams(Strict):
    """Templates of the two texts to compare. Several ground truths: the best counts (BLEU uses all at once)."""

    ground_truth: str | list[str] = DEFAULT_TRUTH
    candidate: str = DEFAULT_CANDIDATE


class BleuParams(Strict):
    """As NVIDIA's: a list of references."""

    references: list[str] = Field(default=[DEFAULT_TRUTH], min_length=1)
    candidate: str = DEFAULT_CANDIDATE


class ReferenceMetric(Metric):
    """Compares the output with one or more expected texts, all items at once."""

    def configure(self, params: dict[str, Any]) -> None:
        """Take `ground_truth`, or `references` as BLEU calls them."""
        if "references" in params:
            bleu = BleuParams.model_validate(params)
            self.truths, self.candidate = bleu.references, bleu.candidate
        else:
            parsed = ReferenceParams.model_validate(params)
            truths = parsed.ground_truth
            self.truths, self.candidate = [truths] if isinstance(truths, str) else truths, parsed.candidate
        check([*self.truths, self.candidate], self.where)

    def texts(self, contexts: Sequence[Context]) -> tuple[list[str], list[list[str]]]:
        """Candidates, and for each item its references."""
        candidates = [render(self.candidate, context, self.where) for context in contexts]
        references = [[render(truth, context, self.where) for truth in self.truths] for context in contexts]
        return candidates, references

    def rehearse(self, context: Context) -> None:
        """Render everything once."""
        self.texts([context])

    def score_items(self, contexts: Sequence[Context]) -> Scores:
        """Scores of the rendered texts."""
        return self.compare(*self.texts(contexts)) if contexts else {}

    @abstractmethod
    def compare(self, candidates: list[str], references: list[list[str]]) -> Scores:
        """Scores of texts; for the metric's own arithmetic."""
