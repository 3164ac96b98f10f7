"""Texts as vectors of length one, to tell how alike they are: by the served model where it embeds, else by TF-IDF.

Embeddings come from NIM's `/v1/embeddings` with the base model, which few servers of chat models offer. TF-IDF over
pieces of 2 to 4 characters (scikit-learn) knows letters, not meanings, works in every script, and needs nothing; which
of them was used is part of the result.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nemostack.errors import ServiceError

Vectors = NDArray[np.float64]
Embed = Callable[[Sequence[str]], list[list[float]] | None]
"""Vectors of texts by a service; None where it offers none."""
TF_IDF = "TF-IDF of 2 to 4 characters"
_BATCH = 64
_FEATURES = 4096


def embed_texts(pool: Sequence[str], questions: Sequence[str], embed: Embed, name: str) -> tuple[Vectors, Vectors, str]:
    """Return the vectors of both, and by what they were made: `name`, or TF-IDF where the service offers no vectors."""
    texts = [*pool, *questions]
    served = _served(texts, embed)
    vectors, method = (_tf_idf(pool, questions), TF_IDF) if served is None else (_of_length_one(served), name)
    return vectors[: len(pool)], vectors[len(pool) :], method


def _served(texts: Sequence[str], embed: Embed) -> Vectors | None:
    parts = []
    for start in range(0, len(texts), _BATCH):
        part = embed(texts[start : start + _BATCH])
        if part is None:
            return None
        parts += part
    if len(parts) != len(texts) or len({len(part) for part in parts}) != 1:
        raise ServiceError(
            f"asked for the vectors of {len(texts)} texts, and got {len(parts)} of unequal or other number"
        )
    return np.asarray(parts, dtype=np.float64)


def _tf_idf(pool: Sequence[str], questions: Sequence[str]) -> Vectors:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=_FEATURES)
    vectorizer.fit(pool)  # on the pool alone: what is tested decides nothing
    return np.asarray(vectorizer.transform([*pool, *questions]).toarray(), dtype=np.float64)


def _of_length_one(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)
