"""What jobs of NVIDIA's platform may ask of the trainer besides, against values by hand; and the training process."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from embedded.customizer.lora import adapted_layers
from embedded.customizer.model import TunedModel, load_tokenizer
from embedded.customizer.progress import Reporter, summarize
from embedded.customizer.schedule import Schedule
from embedded.customizer.schemas import Hyperparameters
from embedded.customizer.spec import JobFolder, Recipe
from embedded.customizer.tokens import encode
from embedded.customizer.training import Run
from embedded.customizer.training_rows import Template, parse_row
from nemostack import clone
from tests.contract.customizer_support import job_spec, jsonl, make_model, pairs


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("weights"))


def rates(**recipe) -> list[float]:
    """Learning rates of ten steps, from 1."""
    hyper = Hyperparameters(finetuning_type="lora", batch_size=1, epochs=1, learning_rate=1, warmup_steps=0)
    schedule = Schedule.plan(hyper, 10, Recipe(**recipe))
    return [schedule.rate(step) for step in range(10)]


def test_rates_decay_as_asked():
    assert rates(decay="linear") == pytest.approx([1 - step / 10 for step in range(10)])
    assert rates(decay="constant") == [1] * 10
    assert rates(decay="cosine", final_learning_rate=0.5)[5] == pytest.approx(0.75)
    half = [(1 + math.cos(math.pi * step / 5)) / 2 for step in range(5)]
    assert rates(decay="cosine_with_restarts", restarts=2) == pytest.approx(half * 2)
    assert rates(decay="constant", warmup_ratio=0.4) == pytest.approx([0.25, 0.5, 0.75, *[1] * 7])


@pytest.mark.parametrize("largest", [0, 0.01])
def test_gradient_descent_goes_along_the_clipped_gradient(weights, tmp_path, largest):
    recipe = Recipe(algorithm="sgd", max_gradient_norm=largest, decay="constant")
    hyper = {
        "finetuning_type": "all_weights",
        "learning_rate": 0.5,
        "batch_size": 4,
        "weight_decay": 0,
        "warmup_steps": 0,
    }
    spec = job_spec(weights, hyper, recipe=recipe)
    rows = [parse_row(json.dumps(row).encode(), Template.parse("{prompt} {completion}")) for row in pairs(4)]
    examples = encode(rows, load_tokenizer(spec), 256).examples
    reporter, folder = Reporter(tmp_path / "progress.jsonl"), JobFolder(tmp_path)
    model, twin = TunedModel(spec, reporter), TunedModel(spec, reporter)
    twin.core.eval()
    (twin.loss_sum(examples) / sum(sum(one.learned) for one in examples)).backward()
    gradient = {name: parameter.grad for name, parameter in twin.trainable.items() if parameter.grad is not None}
    norm = math.sqrt(sum(float((one**2).sum()) for one in gradient.values()))
    factor = min(1, largest / norm) if largest else 1
    before = {name: one.clone() for name, one in model.tensors().items()}
    model.core.eval()  # no dropout: the twin has none either
    Run(spec, folder, model, train=examples, validation=examples, reporter=reporter).one_step(examples)
    for name, step in gradient.items():
        torch.testing.assert_close(before[name] - model.tensors()[name], 0.5 * factor * step, rtol=1e-3, atol=1e-6)


def test_rank_stabilized_and_excluded_layers_are_in_the_adapter_s_file(weights, tmp_path):
    hyper = {"finetuning_type": "lora", "lora": {"adapter_dim": 4, "alpha": 8}}
    spec = job_spec(weights, hyper, recipe=Recipe(rank_stabilized=True, excluded_modules=["down_proj", "*.layers.0.*"]))
    model = TunedModel(spec, Reporter(tmp_path / "progress.jsonl"))
    layers = {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in model.trainable}
    plain = TunedModel(
        job_spec(weights, hyper | {"finetuning_type": "all_weights"}), Reporter(tmp_path / "other.jsonl")
    )
    wanted = {n for n in adapted_layers(plain.core, None) if ".layers.0." not in n and not n.endswith("down_proj")}
    assert {name.partition("model.layers")[2] for name in layers} == {
        name.partition("model.layers")[2] for name in wanted
    }
    model.save(tmp_path / "adapter", load_tokenizer(spec))
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["use_rslora"] is True


def test_a_whole_text_is_learned_from_its_second_token_on(weights):
    row = parse_row(b'{"text": "abc"}', Template("{text}", whole=True))
    example = encode([row], load_tokenizer(job_spec(weights, {"finetuning_type": "lora"})), 64).examples[0]
    assert example.learned == [False, True, True, True]  # three bytes and the end: no template around them


def test_the_training_process_leaves_an_artifact_and_ends_with_whoever_started_it(weights, tmp_path):
    def prepare(name: str, epochs: int) -> JobFolder:
        folder = JobFolder(tmp_path / name)
        spec = job_spec(
            weights, {"finetuning_type": "lora", "epochs": epochs}, dataset_url="fileset x", recipe=Recipe()
        )
        folder.create(spec)
        (folder.dataset / "training").mkdir(parents=True)
        (folder.dataset / "training" / "rows.jsonl").write_bytes(jsonl(pairs(16)))
        return folder

    def start(folder: JobFolder) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "embedded.customizer.folder_worker", str(folder.root)]
        return subprocess.Popen(command, cwd=clone.ROOT, stdin=subprocess.PIPE)

    done, endless = prepare("done", 1), prepare("endless", 1_000_000)
    with start(done) as process, start(endless) as other:
        assert other.stdin is not None
        assert process.wait(300) == 0
        while summarize(endless.progress).steps_completed == 0:
            assert other.poll() is None
        other.stdin.close()
        assert other.wait(60) != 0
    assert (done.artifact / "adapter_model.safetensors").exists()
    assert summarize(done.progress).gradient_norm
    assert not Path(endless.artifact).exists()
