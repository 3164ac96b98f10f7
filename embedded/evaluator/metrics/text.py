"""Overlap of words: BLEU (0..100), ROUGE, token F1, exact match and METEOR (0..1). Words: see `segmentation`."""

import functools
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from embedded.evaluator.metrics.base import ReferenceMetric, Scores
from embedded.evaluator.metrics.segmentation import compose, space_out, strip_punctuation, words

STEMMED_FROM = 4  # letters; rouge-score leaves shorter words as they are


def _load_nltk() -> None:
    """Load the whole of nltk before a part of it.

    Its parts import one another: of two threads that begin with different parts, Python would end the import of one,
    and nltk is of no use in this process then.
    """
    import nltk  # noqa: F401


class Bleu(ReferenceMetric):
    """sacrebleu, tokenizer 13a: `sentence` (mean over items, effective order) and `corpus`.

    Characters of scripts without spaces are tokens, as sacrebleu's own tokenizer `zh` has it for Chinese.
    """

    def warm(self) -> None:
        from sacrebleu.metrics.bleu import BLEU  # noqa: F401

    def compare(self, candidates: list[str], references: list[list[str]]) -> Scores:
        """Sentence BLEU of each item; the corpus score is kept for `results`."""
        from sacrebleu.metrics.bleu import BLEU

        candidates = [space_out(candidate) for candidate in candidates]
        references = [[space_out(truth) for truth in truths] for truths in references]
        self._corpus = BLEU().corpus_score(candidates, [list(stream) for stream in zip(*references, strict=True)]).score
        sentence = BLEU(effective_order=True)
        pairs = zip(candidates, references, strict=True)
        return {"sentence": [sentence.sentence_score(candidate, truths).score for candidate, truths in pairs]}

    def results(self, scores: Scores) -> dict[str, Any]:
        """Add `corpus`, which is no mean of items and so has no stats."""
        return super().results(scores) | ({"corpus": {"value": self._corpus}} if scores else {})


class Rouge(ReferenceMetric):
    """rouge-score F-measures, with its stemming of English words as NVIDIA's open evaluator has it."""

    NAMES = {"rouge1": "rouge_1_score", "rouge2": "rouge_2_score", "rouge3": "rouge_3_score", "rougeL": "rouge_L_score"}  # noqa: RUF012

    def warm(self) -> None:
        _load_nltk()
        from rouge_score.rouge_scorer import RougeScorer  # noqa: F401

    def compare(self, candidates: list[str], references: list[list[str]]) -> Scores:
        """Score each pair; the best reference counts, for each score by itself."""
        _load_nltk()
        from nltk.stem.porter import PorterStemmer
        from rouge_score.rouge_scorer import RougeScorer

        stem = functools.cache(PorterStemmer().stem)

        class Words:
            def tokenize(self, text: str) -> list[str]:
                return [stem(word) if len(word) >= STEMMED_FROM and word.isascii() else word for word in words(text)]

        scorer = RougeScorer(list(self.NAMES), tokenizer=Words())
        scores: Scores = {name: [] for name in self.NAMES.values()}
        for candidate, truths in zip(candidates, references, strict=True):
            best = scorer.score_multi(truths, candidate)
            for kind, name in self.NAMES.items():
                scores[name].append(best[kind].fmeasure)
        return scores


def normalised(text: str) -> list[str]:
    """Tokens as SQuAD compares them: lower case, without punctuation and English articles.

    Characters of scripts without spaces are tokens, and punctuation of every script goes, as MLQA extends SQuAD.
    """
    text = strip_punctuation(compose(text).lower())
    return space_out(re.sub(r"\b(a|an|the)\b", " ", text)).split()


def token_f1(candidate: str, truth: str) -> float:
    """Harmonic mean of the share of candidate tokens that are right and of truth tokens that are found."""
    candidate_words, truth_words = normalised(candidate), normalised(truth)
    if not candidate_words or not truth_words:
        return float(candidate_words == truth_words)
    common = (Counter(candidate_words) & Counter(truth_words)).total()
    return 2 * common / (len(candidate_words) + len(truth_words))


def exact_match(candidate: str, truth: str) -> float:
    """1 if both are the same after normalisation."""
    return float(normalised(candidate) == normalised(truth))


class _Pairwise(ReferenceMetric):
    """The best of a function of (candidate, truth)."""

    NAME: str

    def pairwise(self) -> Callable[[str, str], float]:
        raise NotImplementedError

    def compare(self, candidates: list[str], references: list[list[str]]) -> Scores:
        """One score, the best over the references."""
        score_pair = self.pairwise()
        pairs = zip(candidates, references, strict=True)
        return {self.NAME: [max(score_pair(candidate, truth) for truth in truths) for candidate, truths in pairs]}


class F1(_Pairwise):
    """Token-overlap F1 of SQuAD."""

    NAME = "f1_score"

    def pairwise(self) -> Callable[[str, str], float]:
        """See `token_f1`."""
        return token_f1


class ExactMatch(_Pairwise):
    """Exact match of SQuAD."""

    NAME = "em_score"

    def pairwise(self) -> Callable[[str, str], float]:
        """See `exact_match`."""
        return exact_match


class _NoSynonyms:
    """Stands where METEOR asks WordNet, which is not shipped: no word has a synonym."""

    def synsets(self, _word: str) -> list[Any]:
        return []


class Meteor(_Pairwise):
    """nltk's METEOR with exact and Porter-stem matches; reduced: no WordNet synonyms."""

    NAME = "meteor_score"

    def warm(self) -> None:
        _load_nltk()
        from nltk.translate.meteor_score import single_meteor_score  # noqa: F401

    def pairwise(self) -> Callable[[str, str], float]:
        """Nltk's single-sentence score."""
        _load_nltk()
        from nltk.translate.meteor_score import single_meteor_score

        none: Any = _NoSynonyms()

        def meteor(candidate: str, truth: str) -> float:
            candidate_words, truth_words = words(candidate), words(truth)
            return (
                float(single_meteor_score(truth_words, candidate_words, wordnet=none))
                if candidate_words and truth_words
                else 0.0
            )

        return meteor
