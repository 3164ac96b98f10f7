"""A sample that people have rated, judged anew by the judge of a stack: `nemostack judge`.

Each row has a question, its ground truth, an answer and people's ratings from 1 to 5: `rating`, and any of the five
criteria. The Evaluator asks the judge twice an answer, the second time with the texts in the other order. Refuses rows
without an answer or a rating, and a sample that is too small to say anything.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemostack.clients import Clients
from nemostack.clients.evaluator import EvaluationJob, Sample
from nemostack.clients.polling import Pace, wait_for
from nemostack.console import Progress
from nemostack.errors import BadInput, JobFailed
from nemostack.models import Model
from workflows.data.formats import read_file
from workflows.data.problems import Problem, list_problems
from workflows.data.rows import Columns, read_row
from workflows.judge.calibration import RATINGS, Agreement, agreement
from workflows.judge.criteria import CRITERIA, RATING, judge_metric
from workflows.settings import Deadlines

TASK = "judged"
LEAST = 20
_SCALES = (RATING, *(criterion.name for criterion in CRITERIA))


@dataclass(frozen=True)
class Labelled:
    """An answer with people's ratings, by criterion."""

    prompt: str
    completion: str
    answer: str
    ratings: dict[str, int]


class JudgeReport(Model):
    """What came of it, by criterion."""

    judge: str
    sample: str
    agreements: list[Agreement]


def read_labelled(path: Path, columns: Columns) -> list[Labelled]:
    """Read a sample; BadInput lists what is wrong with its lines."""
    contents = read_file(path)
    problems, rows = list(contents.problems), []
    for record in contents.records:
        row = _labelled(record.item, columns)
        if isinstance(row, str):
            problems.append(Problem(path.name, record.line, row))
        else:
            rows.append(row)
    if not problems and len(rows) < LEAST:
        problems.append(Problem(path.name, 0, f"has {len(rows)} rated answers; at least {LEAST} are needed"))
    if problems:
        listing = "\n".join(f"  {line}" for line in list_problems(problems))
        raise BadInput(f"sample {path} cannot be used, {len(problems)} problem(s):\n{listing}")
    return rows


def _labelled(item: Any, columns: Columns) -> Labelled | str:
    row = read_row(item, columns)
    if isinstance(row, str):
        return row
    answer = item.get("answer")
    if not isinstance(answer, str):
        return "lacks the text `answer` that was rated"
    ratings = {}
    for scale in _SCALES:
        if item.get(scale) in {None, ""}:
            continue
        text = str(item[scale]).strip()
        if text not in {str(rating) for rating in RATINGS}:
            return f"column {scale!r}: expected a whole number from 1 to 5"
        ratings[scale] = int(text)
    if not ratings:
        return f"lacks a rating; expected at least one of {', '.join(_SCALES)}"
    return Labelled(row.prompt, row.completion, answer, ratings)


def check_judge(
    rows: list[Labelled],
    clients: Clients,
    *,
    sample: str,
    namespace: str,
    key: str | None,
    progress: Progress,
    pace: Pace | None = None,
) -> JudgeReport:
    """Have the sample judged, and compare. The job is stopped and taken away however this ends."""
    outputs, evaluator = clients.outputs, clients.evaluator
    metrics = {
        name: judge_metric(outputs.judge_url, outputs.judge_model, key, swapped=name == "swapped")
        for name in ("judge", "swapped")
    }
    target = {
        "type": "rows",
        "rows": [{"prompt": r.prompt, "completion": r.completion, "output": r.answer} for r in rows],
    }
    config = {"type": "custom", "name": "judge", "tasks": {TASK: {"type": "data", "metrics": metrics}}}
    progress.start(f"Judging {len(rows)} answers, twice each")
    run = f"judge-{uuid.uuid4().hex[:8]}"
    job = evaluator.start(config=config, target=target, namespace=namespace, run_id=run, stage="judge")
    try:
        samples = _samples(job, clients, progress, pace or Pace())
    finally:
        if not evaluator.get(job.id).ended:
            evaluator.cancel(job.id)
        evaluator.delete(job.id)
        progress.stop()
    return JudgeReport(judge=outputs.judge_model, sample=sample, agreements=compare(rows, samples))


def _samples(job: EvaluationJob, clients: Clients, progress: Progress, pace: Pace) -> list[Sample]:
    deadlines = Deadlines()
    ended = wait_for(
        lambda: clients.evaluator.get(job.id),
        done=lambda seen: seen.ended,
        describe=lambda seen: f"{seen.status} {seen.message}",
        what=f"evaluation job {job.id}",
        deadline_s=deadlines.evaluation,
        outage_s=deadlines.outage,
        pace=pace,
        tell=progress.update,
    )
    samples = clients.evaluator.samples(job.id, TASK) if ended.completed else None
    if not samples:
        reason = f": {ended.message}" if ended.message else ""
        raise JobFailed(
            f"judging job {job.id} ended as {ended.status} without samples{reason}; see the Evaluator's log"
        )
    return samples


def compare(rows: list[Labelled], samples: list[Sample]) -> list[Agreement]:
    """Compare by each scale that both people and the judge have rated."""
    by_index = {sample.index: sample.scores for sample in samples}
    found = []
    for scale in _SCALES:
        numbers = [number for number, row in enumerate(rows) if scale in row.ratings]
        one = agreement(
            scale,
            [rows[number].ratings[scale] for number in numbers],
            [by_index.get(number, {}).get(f"judge.{scale}") for number in numbers],
            [by_index.get(number, {}).get(f"swapped.{scale}") for number in numbers],
            [len(rows[number].answer) for number in numbers],
        )
        found += [one] if one is not None else []
    return found
