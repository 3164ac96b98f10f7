"""Evaluation jobs: a custom job from its creation to its results, as the harness asks for it.

Fixtures: `client` on the service, `rows_url`, the address of a file with the rows `ROWS`, and `model_target`, a target
whose model answers them.
"""

import io
import json
import time
import zipfile
from typing import Any

import pytest
from nemo_microservices import ConflictError, NotFoundError

from tests.deadlines import Deadline

ROWS = [{"prompt": f"question {n}?", "ideal": f"answer {n}"} for n in range(3)]
ENDED = {"completed", "failed", "cancelled"}
ENDED_S = 120
SCORES = {"rouge.rouge_L_score", "bleu.sentence", "f1.f1_score"}


def custom_config(rows_url: str) -> dict[str, Any]:
    """Ask each row once, and score the answer three ways."""
    truth = {"ground_truth": "{{item.ideal}}"}
    template = {"messages": [{"role": "user", "content": "{{item.prompt}}"}], "max_tokens": 9}
    task = {
        "type": "chat-completion",
        "dataset": {"files_url": rows_url, "limit": len(ROWS)},
        "params": {"template": template},
        "metrics": {
            "rouge": {"type": "rouge", "params": truth},
            "bleu": {"type": "bleu", "params": {"references": ["{{item.ideal}}"]}},
            "f1": {"type": "f1", "params": truth},
        },
    }
    return {"type": "custom", "params": {"parallelism": 2}, "tasks": {"answers": task}}


def end_of(client: Any, job_id: str) -> Any:
    """Wait until a job has ended, and return it."""
    deadline = Deadline(ENDED_S)
    while (job := client.evaluation.jobs.retrieve(job_id)).status not in ENDED:
        assert job.status in {"created", "pending", "running"}
        assert not deadline.passed, f"{job_id} is still {job.status}"
        time.sleep(0.05)
    return job


class EvaluationContract:
    """What clients may rely on."""

    def test_a_job_from_its_creation_to_its_results(
        self, client: Any, model_target: dict[str, Any], rows_url: str
    ) -> None:
        marks = {"run": "r-1", "stage": "zero-shot"}
        created = client.evaluation.jobs.create(
            target=model_target, config=custom_config(rows_url), custom_fields=marks
        )
        assert created.status == "created"
        assert created.id.startswith("eval-")
        assert created.custom_fields == marks
        done = end_of(client, created.id)
        assert done.status == "completed", done.status_details

        archive = zipfile.ZipFile(io.BytesIO(client.evaluation.jobs.download_results(created.id).read()))
        assert {"results.json", "answers/samples.jsonl"} <= set(archive.namelist())
        rows = [json.loads(line) for line in archive.read("answers/samples.jsonl").splitlines()]
        assert [row["index"] for row in rows] == [0, 1, 2]
        assert [row["item"] for row in rows] == ROWS
        assert all(row["sample"]["output_text"] for row in rows)
        assert {row["sample"]["finish_reason"] for row in rows} == {"stop"}
        assert all(row["scores"].keys() >= SCORES for row in rows)

        metrics = client.evaluation.jobs.results(created.id).tasks["answers"].metrics
        for metric, score in (("rouge", "rouge_L_score"), ("f1", "f1_score")):
            found = metrics[metric].scores[score]
            values = [row["scores"][f"{metric}.{score}"] for row in rows]
            assert found.value == pytest.approx(sum(values) / len(values))
            assert found.stats.mean == pytest.approx(found.value)
            assert found.stats.count == len(ROWS)

    def test_the_newest_job_is_listed_first(self, client: Any, model_target: dict[str, Any], rows_url: str) -> None:
        made = [client.evaluation.jobs.create(target=model_target, config=custom_config(rows_url)).id for _ in range(2)]
        listed = [job.id for job in client.evaluation.jobs.list(sort="-created_at", page_size=100)]
        assert listed[:2] == made[::-1]
        for job_id in made:
            end_of(client, job_id)

    def test_a_job_that_has_ended_cannot_be_cancelled_and_can_be_deleted_once(
        self, client: Any, model_target: dict[str, Any], rows_url: str
    ) -> None:
        job = client.evaluation.jobs.create(target=model_target, config=custom_config(rows_url))
        end_of(client, job.id)
        with pytest.raises(ConflictError, match="completed already") as caught:
            client.evaluation.jobs.cancel(job.id)
        assert caught.value.response.headers["x-should-retry"] == "false"
        client.evaluation.jobs.delete(job.id)
        with pytest.raises(NotFoundError, match=job.id):
            client.evaluation.jobs.retrieve(job.id)
        with pytest.raises(NotFoundError, match=job.id):
            client.evaluation.jobs.delete(job.id)

    def test_an_unknown_job_is_404_naming_it(self, client: Any) -> None:
        for call in ("retrieve", "results", "download_results", "cancel", "delete"):
            with pytest.raises(NotFoundError, match="eval-unknown"):
                getattr(client.evaluation.jobs, call)("eval-unknown")
