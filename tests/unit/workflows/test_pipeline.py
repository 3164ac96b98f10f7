"""The whole pipeline on a fake stack: what it does, and what it leaves behind."""

import csv
import json
import re
from pathlib import Path

import pytest

from nemostack.errors import DeadlineExceeded, JobFailed, RunLocked, ServiceError, Unhealthy
from nemostack.models import SAMPLE_MODEL
from tests.unit.fake_stack import BASE
from tests.unit.pipeline_harness import Harness
from workflows.gate.verdict import GateReport
from workflows.results.approach import ItemResult
from workflows.results.comparison import Comparison
from workflows.settings import Settings


def test_full_run_climbs_the_ladder(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings)
    comparison = Comparison.model_validate_json((run.path / "comparison.json").read_text())
    assert [a.name for a in comparison.approaches] == ["zero_shot", "in_context", "lora"]
    # The fake scores item i with level + (i % 7 - 3) / 100; the mean over 8 items is level - 3/800.
    means = [a.scores["rouge_l"].mean for a in comparison.approaches]
    assert means == pytest.approx([0.3 - 3 / 800, 0.5 - 3 / 800, 0.7 - 3 / 800])
    assert comparison.approaches[0].scores["bleu"].mean == pytest.approx(0.3 - 3 / 800)  # brought to 0..1
    gate = GateReport.model_validate_json((run.path / "gate.json").read_text())
    assert gate.outcome == "GO"
    assert (gate.baseline, gate.chosen) == ("in_context", "lora")
    difference = gate.shown.leading.difference
    assert difference is not None
    assert (difference.low, difference.high) == pytest.approx((0.2, 0.2))  # paired: the noise is the same and cancels


def test_full_run_leaves_nothing_on_the_stack(harness: Harness, settings: Settings) -> None:
    harness.run(settings)
    stack = harness.stack
    assert (stack.datasets, stack.models, stack.repos, stack.evaluations) == ({}, {}, {}, {})


def test_keep_adapter_leaves_only_the_adapter_and_the_prompt(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings.model_copy(update={"keep_adapter": True}))
    prompt, adapter = sorted(harness.stack.models, key=lambda name: "-lora@" in name)
    assert prompt.endswith("-prompt")
    assert harness.stack.served() == [BASE, adapter]
    assert harness.stack.datasets == {}
    assert run.stage("cleanup").outputs["kept"] == [adapter]


def test_what_is_sent(harness: Harness, settings: Settings) -> None:
    sent: dict[str, bytes] = {}
    jobs = []
    stack = harness.stack
    stack.on(
        r"DELETE /v1/evaluation/jobs/eval-1", lambda: jobs.extend(json.loads(json.dumps([*stack.evaluations.values()])))
    )
    stack.on(r"DELETE /ds/v1/hf/api/repos/delete", lambda: [sent.update(files) for files in stack.repos.values()])
    harness.run(settings)
    training = [json.loads(line) for line in sent["training/train.jsonl"].decode().splitlines()]
    assert training[0]["messages"] == [
        {"role": "user", "content": "train question 0?"},
        {"role": "assistant", "content": "train answer 0."},
    ]
    assert json.loads(sent["testing/test.jsonl"].decode().splitlines()[0]) == {
        "prompt": "test question 0?",
        "completion": "test answer 0.",
    }
    zero, context, lora = jobs
    assert zero["target"]["model"]["api_endpoint"] == {
        "url": "http://nim.internal:8000/v1/chat/completions",
        "model_id": BASE,
    }
    templates = [job["config"]["tasks"]["answers"]["params"]["template"]["messages"] for job in jobs]
    assert [len(messages) for messages in templates] == [1, 7, 1]
    assert {m["content"].partition(" ")[0] for m in templates[1][:6]} == {"train"}
    assert templates[0] == templates[1][-1:] == [{"role": "user", "content": "{{ item.prompt }}"}]
    assert lora["target"]["model"]["api_endpoint"]["model_id"].startswith("default/my-data-")
    assert context["custom_fields"]["nemostack_stage"] == "in_context"


def test_hyperparameters_that_nobody_chose_are_the_customizers(harness: Harness, settings: Settings) -> None:
    chosen = settings.hyperparameters.model_copy(update={"batch_size": 4})
    run = harness.run(settings.model_copy(update={"hyperparameters": chosen}))
    sent = harness.stack.sent_hyperparameters
    assert (sent["epochs"], sent["batch_size"], sent["lora"]) == (1, 4, {"adapter_dim": 8})
    assert "learning_rate" not in sent
    assert "min_learning_rate" not in sent
    said = "rank 8, alpha 16, learning rate 0.0001, batch size 4, epochs 1 (chosen by the Customizer: alpha, learning"
    assert said in harness.said
    assert said in (run.path / "report.html").read_text()


def test_the_sample_model_gets_what_suits_it(harness: Harness, settings: Settings) -> None:
    harness.stack.base_model = SAMPLE_MODEL
    chosen = settings.hyperparameters.model_copy(update={"batch_size": 1})
    run = harness.run(settings.model_copy(update={"hyperparameters": chosen}))
    sent = harness.stack.sent_hyperparameters
    assert (sent["epochs"], sent["batch_size"], sent["learning_rate"]) == (1, 1, 4e-3)
    assert (sent["warmup_steps"], sent["min_learning_rate"]) == (1, 4e-4)  # 12 rows, a tenth of 12 steps
    assert sent["lora"] == {"adapter_dim": 8, "alpha": 16, "adapter_dropout": 0.0}
    assert "rank 8, alpha 16, learning rate 0.004, batch size 1, epochs 1." in (run.path / "report.html").read_text()


def test_csv_agrees_with_samples(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings)
    with (run.path / "comparison.csv").open() as file:
        rows = {(row["approach"], row["metric"]): row for row in csv.DictReader(file)}
    lines = (run.path / "samples" / "lora.jsonl").read_text().splitlines()
    scores = [json.loads(line)["scores"]["f1"] for line in lines]
    assert float(rows["lora", "f1"]["mean"]) == pytest.approx(sum(scores) / 8)
    assert rows["lora", "f1"]["n"] == "8"


def test_without_samples_the_summary_is_used_and_said(harness: Harness, settings: Settings) -> None:
    harness.stack.samples = False
    run = harness.run(settings)
    comparison = Comparison.model_validate_json((run.path / "comparison.json").read_text())
    score = comparison.approaches[2].scores["rouge_l"]
    values = [0.7 + (i % 7 - 3) / 100 for i in range(8)]
    mean = sum(values) / 8
    half = 1.96 * (sum((v - mean) ** 2 for v in values) / 8) ** 0.5 / 8**0.5
    assert score.method == "normal"
    assert (score.low, score.high) == pytest.approx((mean - half, mean + half), abs=1e-4)
    assert score.missing == 1
    assert "gave no scores per item" in (run.path / "report.html").read_text()


def test_characters_that_some_take_for_the_end_of_a_line_cut_none(harness: Harness, settings: Settings) -> None:
    text = "one\u2028two\u2029three\u0085four"
    for split in ("train", "validation", "test"):
        rows = [{"prompt": f"{split} {number} {text}", "completion": text} for number in range(9)]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (settings.dataset / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    run = harness.run(settings)
    comparison = Comparison.model_validate_json((run.path / "comparison.json").read_text())
    assert [approach.items for approach in comparison.approaches] == [8, 8, 8]
    assert {item.reference for item in run.load_samples("lora", ItemResult)} == {text}


def test_shots_zero_skips_in_context(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings.model_copy(update={"shots": 0}))
    assert run.stage("in_context").status == "skipped"
    assert "--shots 0" in run.stage("in_context").reason
    assert len(harness.stack.customizations) == 1


def test_environment_check_collects_all_problems(harness: Harness, settings: Settings) -> None:
    harness.stack.down = {"/v1/evaluation", "/nim"}
    with pytest.raises(Unhealthy) as caught:
        harness.run(settings)
    assert "3 problem(s)" in str(caught.value)
    assert all(word in str(caught.value) for word in ("Evaluator: answers", "NIM: is ready", "NIM: serves the model"))
    assert harness.stack.datasets == {}


def test_failed_job_says_why_and_how_to_go_on(harness: Harness, settings: Settings) -> None:
    def fail() -> None:
        harness.stack.customizations["cust-1"] |= {"status": "failed"}

    harness.stack.on(r"GET /v1/customization/jobs/cust-1", fail)
    with pytest.raises(JobFailed, match=r"customization job cust-1 ended as failed.*run again to retry"):
        harness.run(settings)
    run = harness.run(settings)
    assert "had failed; starting another" in harness.said
    assert len(harness.stack.customizations) == 2
    assert run.stage("cleanup").status == "done"
    assert harness.stack.models == {}  # the adapter of the failed job too


def test_an_adapter_that_nim_refuses_ends_the_run_with_its_reason(harness: Harness, settings: Settings) -> None:
    harness.stack.refusal = "rank 64 is above max_lora_rank 32"
    with pytest.raises(ServiceError, match=r"NIM refuses to serve .*: rank 64 is above max_lora_rank 32; once NIM"):
        harness.run(settings)
    assert harness.stack.count(r"GET /nim/v1/models$") < 9  # at once, not after the deadline
    harness.stack.refusal = ""
    run = harness.run(settings)
    assert run.stage("customization").attempts == 1
    assert run.info().finished_at is not None


def test_an_adapter_that_nim_still_tries_for_is_waited_for(harness: Harness, settings: Settings) -> None:
    harness.stack.refusal = "the Data Store does not answer; trying again"
    impatient = settings.model_copy(update={"deadlines": settings.deadlines.model_copy(update={"adapter": 0.2})})
    with pytest.raises(DeadlineExceeded, match=r"last: NIM serves base/model; the Data Store does not answer; trying"):
        harness.run(impatient)


def test_nim_killed_in_mid_run(harness: Harness, settings: Settings) -> None:
    stack = harness.stack
    stack.target = "local"

    def kill() -> None:
        stack.down.add("/nim")
        stack.evaluations["eval-2"] |= {"status": "failed", "status_details": {"message": "ConnectError: refused"}}

    stack.on(r"GET /v1/evaluation/jobs/eval-2$", kill)
    with pytest.raises(JobFailed, match=r"eval-2 ended as failed: ConnectError: refused; .*`nemostack doctor`") as job:
        harness.run(settings)
    assert job.value.exit_code == 5
    with pytest.raises(Unhealthy) as check:  # nothing restarts a NIM that was killed: the user has to know
        harness.run(settings)
    assert check.value.exit_code == 8
    assert re.search(r"NIM: is ready: .* -> .*`nemostack up --stack NAME`", harness.said)
    stack.down.clear()
    run = harness.run(settings)
    assert [run.stage(name).attempts for name in ("zero_shot", "in_context", "lora")] == [1, 2, 1]
    assert stack.count(r"POST /v1/customization/jobs$") == 1
    assert run.info().finished_at is not None


def test_mlflow_away_is_visible_not_fatal(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings)
    problem = run.stage("comparison").outputs["mlflow"]["problem"]
    assert "MLflow" in problem
    assert "complete" in problem
    assert problem in harness.said
    assert run.info().finished_at is not None


def test_second_process_is_kept_out(harness: Harness, settings: Settings) -> None:
    harness.stack.down = {"/nim"}
    with pytest.raises(Unhealthy):
        harness.run(settings)
    launch = harness.prepare(settings)
    assert launch.resumed
    with launch.run.locked(), pytest.raises(RunLocked, match="another process"):
        harness.run(settings)


def test_finished_run_is_not_resumed(harness: Harness, settings: Settings) -> None:
    first, second = harness.run(settings), harness.run(settings)
    assert first.path != second.path
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}(-\d+)?", second.path.name)


def test_other_settings_are_another_run(harness: Harness, settings: Settings) -> None:
    harness.stack.down = {"/nim"}
    with pytest.raises(Unhealthy):
        harness.run(settings)
    assert harness.prepare(settings).resumed
    assert harness.prepare(settings.model_copy(update={"keep_adapter": True})).resumed
    assert not harness.prepare(settings, new=True).resumed
    (settings.dataset / "test.jsonl").write_text('{"prompt": "other", "completion": "rows"}\n')
    assert not harness.prepare(settings).resumed


def test_benchmark(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings.model_copy(update={"kind": "evaluate", "benchmark": "gsm8k"}))
    assert run.stage("benchmark").outputs["scores"] == {"gsm8k exact_match.exact_match": 0.25}
    assert harness.stack.evaluations == {}


def test_customize_keeps_the_model(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings.model_copy(update={"kind": "customize"}))
    assert run.stage("customization").outputs["model"] in harness.stack.served()
    assert harness.stack.datasets == {}


def test_answers_that_were_cut_are_told_everywhere(harness: Harness, settings: Settings) -> None:
    harness.stack.cut_answers = 3
    run = harness.run(settings)
    assert "warning: 3 of 8 answers were cut at 32 tokens, which lowers every score: raise --max-tokens" in harness.said
    comparison = json.loads((run.path / "comparison.json").read_text())
    assert [approach["cut"] for approach in comparison["approaches"]] == [3, 3, 3]
    assert "Answers were cut by the limit of tokens" in (run.path / "report.html").read_text()


def test_room_for_answers_is_counted_by_the_server(harness: Harness, settings: Settings) -> None:
    harness.stack.tokens_per_character = 4.0
    run = harness.run(settings)
    longest = len("validation answer 3.")
    assert run.stage("dataset").outputs["max_tokens"] >= longest * 4


def test_the_sample_model_learns_from_part_of_the_sample_dataset_and_from_all_of_another() -> None:
    sample = Settings().suited_to(SAMPLE_MODEL)
    assert (sample.train_rows, sample.validation_rows) == (128, 16)
    assert Settings(train_rows=7).suited_to(SAMPLE_MODEL).train_rows == 7
    for other in (Settings().suited_to("acme/x"), Settings(dataset=Path("mine")).suited_to(SAMPLE_MODEL)):
        assert (other.train_rows, other.validation_rows) == (None, None)


def test_rows_beyond_those_asked_for_are_neither_uploaded_nor_counted(harness: Harness, settings: Settings) -> None:
    run = harness.run(settings.model_copy(update={"train_rows": 5, "validation_rows": 2}))
    facts = json.loads((run.path / "stages" / "dataset.json").read_text())["outputs"]["facts"]
    assert {split: facts["splits"][split]["rows"] for split in ("train", "validation", "test")} == {
        "train": 5,
        "validation": 2,
        "test": 10,
    }
