"""Evaluations of the base model and of the tuned one, and what a user is told when one cannot work."""

import re
from collections import Counter
from collections.abc import Callable

import pytest

from nemostack.clients import Clients
from nemostack.clients.evaluator import EvaluationJob, Sample
from smoke_tests.conftest import Session
from smoke_tests.journal import Kind
from smoke_tests.shared import EVALUATED_ITEMS, TEST_ROWS, Shared
from workflows.data import dataset, in_context
from workflows.results import approach
from workflows.settings import Settings

Make = Callable[[Kind, str], str]
pytestmark = pytest.mark.services("evaluator", "nim")


def _samples(clients: Clients, job: EvaluationJob) -> list[Sample]:
    samples = clients.evaluator.samples(job.id, approach.TASK)
    if samples is None:
        pytest.skip("this Evaluator hands out no samples: nothing to recompute scores from")
    return samples


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F-measure by its definition, the other route to the Evaluator's number."""
    a, b = _words(answer), _words(reference)
    if not a or not b:
        return 0.0
    table = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for k, other in enumerate(b, start=1):
            diagonal, table[k] = table[k], diagonal + 1 if word == other else max(table[k], table[k - 1])
    return 2 * table[-1] / (len(a) + len(b))


def test_zero_shot(clients: Clients, shared: Shared, evaluate: Callable[..., EvaluationJob]) -> None:
    repo = shared.dataset()
    job = evaluate(shared.test_url(repo))
    shared.evaluated(job.id)
    scores = clients.evaluator.scores(job.id)[approach.TASK]
    samples = _samples(clients, job)
    namespace, _, dataset_name = repo.partition("/")
    rows = clients.datasets.read(namespace, dataset_name, "testing/test.jsonl").decode().strip("\n").split("\n")
    assert len(samples) == EVALUATED_ITEMS < len(rows) == TEST_ROWS
    expected = [_rouge_l(s.output, s.item["completion"]) for s in samples]
    assert scores["rouge.rouge_L_score"].mean == pytest.approx(sum(expected) / EVALUATED_ITEMS, abs=0.02)
    exact = sum(s.output.strip() == s.item["completion"].strip() for s in samples) / EVALUATED_ITEMS
    assert scores["em.em_score"].mean == pytest.approx(exact, abs=0.13)  # services normalise before they compare


def test_in_context_examples_change_the_answers(
    clients: Clients, shared: Shared, evaluate: Callable[..., EvaluationJob]
) -> None:
    repo, data = shared.dataset(), dataset.load(Settings())
    shots = in_context.choose(data.train, data.test, 2, seed=0)
    plain, shown = evaluate(shared.test_url(repo)), evaluate(shared.test_url(repo), shots=shots)
    shared.evaluated(plain.id)
    shared.evaluated(shown.id)
    without, with_examples = _samples(clients, plain), _samples(clients, shown)
    assert [s.item["prompt"] for s in without] == [s.item["prompt"] for s in with_examples]
    assert [s.output for s in without] != [s.output for s in with_examples]


@pytest.mark.services("evaluator", "judge")
def test_judge_rates_every_item(clients: Clients, shared: Shared, evaluate: Callable[..., EvaluationJob]) -> None:
    job = evaluate(shared.test_url(shared.dataset()), judge=True)
    shared.evaluated(job.id)
    rating = clients.evaluator.scores(job.id)[approach.TASK]["judge.rating"]
    assert rating.mean is not None
    assert 1 <= rating.mean <= 5
    samples = _samples(clients, job)
    ratings = Counter(s.scores.get("judge.rating") for s in samples)
    assert set(ratings) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert rating.mean == pytest.approx(sum(value * n for value, n in ratings.items() if value) / EVALUATED_ITEMS)


def test_a_bad_dataset_fails_with_the_line(
    shared: Shared, smoke: Session, name: str, made: Make, evaluate: Callable[..., EvaluationJob]
) -> None:
    repo = f"{smoke.namespace}/{name}"
    lines = b'{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": "b"}\n{"prompt": oops}\n'
    shared.upload(repo, {"testing/test.jsonl": lines}, made)
    ended = shared.evaluation_ended(evaluate(shared.test_url(repo)).id)
    assert ended.status == "failed"
    assert "test.jsonl" in ended.message
    assert "3" in ended.message


def test_an_unknown_model_fails_and_is_named(
    clients: Clients, shared: Shared, evaluate: Callable[..., EvaluationJob]
) -> None:
    unknown = "default/no-such-model" if clients.on_platform else "nobody/no-such-model@v9"
    ended = shared.evaluation_ended(evaluate(shared.test_url(shared.dataset()), model=unknown).id)
    assert ended.status == "failed"
    if not clients.on_platform:  # NVIDIA's evaluator says in its log alone why the answers could not be had
        assert unknown in ended.message
