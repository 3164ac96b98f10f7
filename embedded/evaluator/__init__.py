"""Evaluator: scores models, cached outputs and rows of data, as the NeMo Evaluator does.

Faithful: the routes, documents, states and result structure of the SDK's `evaluation` (v1) and `v2.evaluation`
resources; the guide's older `/v1/evaluations`; academic benchmarks by the real lm-eval harness; BLEU by sacrebleu,
ROUGE by rouge-score, BERTScore by bert-score, METEOR by nltk, token F1 and exact match as SQuAD defines them.

Reduced: BERTScore uses all-MiniLM-L6-v2 (its weights come as a package), unscaled; METEOR matches words and stems but
no synonyms, since WordNet is not shipped; where the Hugging Face Hub cannot be reached, gsm8k, mmlu, hellaswag and
truthfulqa ask our own questions (substitutes/), and each result says so; targets `retriever` and `rag`, datasets on
another hub than the Data Store and benchmarks that execute code are refused, but HumanEval where the settings let it
run in a sandbox (sandbox.py); groups of custom tasks carry no metrics of their own.

Choices where the contract is silent: greedy decoding (`temperature` 0) and `max_tokens` 256 unless told; an item that
the model refuses (400, 413, 422) counts as NaN, while a model that is gone fails the job; 32 requests at a time.
Unknown keys are ignored and named in the job's log. Outputs that the model cut at its limit of tokens are counted
(`outputs_cut_by_length` of a task, `finish_reason` of a sample). Patterns of users run in a process of their own with
limits; one that takes too long fails its job. How words are cut is said in `metrics/segmentation.py`. Where the
contract says nothing of a metric, NVIDIA's open evaluator decides; what differs on purpose is in docs/evaluator.md.
"""

from embedded.evaluator.settings import Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> None:
    """Serve until stopped; jobs that were running go on at the next start."""
    from embedded.common.service import serve
    from embedded.evaluator.app import create_app

    serve(create_app(settings), settings)
