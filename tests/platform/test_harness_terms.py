"""What our harness sends to the platform, read by the platform's own classes: metrics as its evaluator bundles them."""

from typing import Any

import nemo_evaluator.shared.metric_bundles.inline  # noqa: F401 - registers the kind `inline`
import pytest
from nemo_evaluator.jobs.evaluate import EvaluateInputSpec
from nemo_evaluator.jobs.metric_resolution import to_runtime_bundle
from nemo_evaluator.shared.metric_bundles.bundles import unbundle_metric

from embedded.customizer.schedule import Schedule
from embedded.customizer.schemas import Hyperparameters as CustomizerTerms
from embedded.customizer.spec import MAX_GRADIENT_NORM
from embedded.training_hub.automodel import AutomodelJob, AutomodelJobWithOutput
from nemostack.clients.customizer import hyperparameters_of
from nemostack.clients.platform.evaluation import translate
from nemostack.clients.platform.training import spec_of
from nemostack.models import SAMPLE_MODEL, Hyperparameters

SAMPLE = Hyperparameters().suited_to(SAMPLE_MODEL)
REFERENCE = "{{ item.completion }}"
JUDGE = {
    "type": "llm-judge",
    "params": {
        "model": {"api_endpoint": {"url": "http://judge/v1/chat/completions", "model_id": "j"}},
        "template": {"messages": [{"role": "user", "content": "Rate {{ sample.output_text }}"}]},
        "scores": {"rating": {"type": "int", "parser": {"type": "regex", "pattern": "RATING: ([1-5])"}}},
    },
}
METRICS: dict[str, Any] = {
    "rouge": {"type": "rouge", "params": {"ground_truth": REFERENCE}},
    "bleu": {"type": "bleu", "params": {"references": [REFERENCE]}},
    "f1": {"type": "f1", "params": {"ground_truth": REFERENCE}},
    "em": {"type": "em", "params": {"ground_truth": REFERENCE}},
    "string": {"type": "string-check", "params": {"check": ["{{ sample.output_text }}", "contains", REFERENCE]}},
    "number": {"type": "number-check", "params": {"check": ["{{ sample.output_text }}", ">", "1"]}},
    "judge": JUDGE,
}


@pytest.mark.parametrize("name", METRICS)
def test_the_evaluator_takes_each_metric_as_one_of_its_own(name: str) -> None:
    template = {"messages": [{"role": "user", "content": "{{ item.prompt }}"}], "max_tokens": 5, "temperature": 0.0}
    body = {"params": {"template": template}, "dataset": {"files_url": "hf://datasets/a/b/t.jsonl"}}
    config = {"type": "custom", "tasks": {"t": body | {"metrics": {name: METRICS[name]}}}}
    translated = translate(config, task="t", url="http://gateway/v1/chat/completions", model="default/m")
    assert translated.left_out == []
    spec = EvaluateInputSpec.model_validate(translated.spec)
    metric = unbundle_metric(to_runtime_bundle(spec.metrics[0]))  # refuses outputs that are not the metric's own
    assert metric.type == translated.spec["metrics"][0]["metric_type"]
    assert spec.params.inference.max_tokens == 5


def test_the_training_hub_takes_what_the_harness_asks() -> None:
    asked = SAMPLE.model_copy(update={"epochs": 2, "learning_rate": 1e-3})
    job = AutomodelJob.model_validate(spec_of("default/m", "legal/rows", "out", asked, seed=3))
    assert job.training.lora is not None
    assert (job.training.lora.rank, job.training.lora.alpha, job.batch.global_batch_size) == (8, 16, 4)
    assert (job.schedule.seed, job.schedule.val_check_interval) == (3, 0.25)


def test_a_job_trains_on_the_same_terms_on_both_products() -> None:
    asked = SAMPLE.scheduled(rows=128)
    job = AutomodelJob.model_validate(spec_of("default/m", "legal/rows", "out", asked, seed=3))
    output = {"name": "out", "type": "adapter", "fileset": "out"}
    platform = AutomodelJobWithOutput.model_validate(job.model_dump() | {"output": output}).terms()
    microservices = CustomizerTerms.model_validate(hyperparameters_of(asked, seed=3))
    theirs, ours = (
        Schedule.plan(terms, 128, recipe)
        for terms, recipe in ((microservices, None), (platform.hyperparameters, platform.recipe))
    )
    assert [theirs.rate(step) for step in range(32)] == pytest.approx([ours.rate(step) for step in range(32)])
    assert max(map(ours.rate, range(32))) == ours.rate(2) == 4e-3  # three of 32 steps warm up
    assert (theirs.total_steps, theirs.val_every) == (ours.total_steps, ours.val_every) == (32, 8)
    assert (platform.recipe.algorithm, microservices.optimizer.partition("_")[0]) == ("adamw", "adamw")
    same = {"lora", "batch_size", "weight_decay", "adam_beta1", "adam_beta2", "seed", "finetuning_type"}
    assert microservices.model_dump(include=same) == platform.hyperparameters.model_dump(include=same)
    assert platform.recipe.max_gradient_norm == MAX_GRADIENT_NORM
