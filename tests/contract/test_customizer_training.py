"""The arithmetic of training, against values computed by other routes; and that interruption changes nothing."""

import json
import math
from pathlib import Path

import pytest
import torch

from embedded.customizer.batches import passes
from embedded.customizer.lora import adapted_layers
from embedded.customizer.model import TunedModel, load_tokenizer
from embedded.customizer.packing import Layout
from embedded.customizer.progress import Reporter, summarize
from embedded.customizer.schedule import Schedule
from embedded.customizer.schemas import Hyperparameters, Lora
from embedded.customizer.spec import JobError, JobFolder
from embedded.customizer.tokens import encode
from embedded.customizer.training import Run
from embedded.customizer.training_rows import Template, parse_row
from tests.contract.customizer_support import MODEL_ID, job_spec, make_model, pairs


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def make_spec(weights):
    def make(precision="fp32", **hyper):
        hyper = {"finetuning_type": "lora", "learning_rate": 5e-3, "batch_size": 8, **hyper}
        return job_spec(weights, hyper, precision=precision, threads=2, seed=7)

    return make


@pytest.fixture
def reporter(tmp_path):
    return Reporter(tmp_path / "progress.jsonl")


def _examples(spec, count, start=0):
    template = Template.parse(spec.prompt_template)
    rows = [parse_row(json.dumps(row).encode(), template) for row in pairs(count, start)]
    return encode(rows, load_tokenizer(spec), spec.max_seq_length).examples


def _stir(model):
    """Fresh adapters change nothing (B = 0); give them values, so that a comparison means something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.trainable.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def test_the_loss_is_that_of_the_completion_tokens_alone(make_spec, reporter, weights):
    """By hand: one row at a time, full logits, softmax in float64, the tokens after the prompt's text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = make_spec()
    tuned = TunedModel(spec, reporter)
    tuned.core.eval()
    tokenizer, plain = AutoTokenizer.from_pretrained(weights), AutoModelForCausalLM.from_pretrained(weights)
    expected = 0.0
    for row in pairs(9):
        prompt = tokenizer(f"<|user|>{row['prompt']}\n<|assistant|>").input_ids
        ids = prompt + tokenizer(row["completion"] + "<|end|>").input_ids
        with torch.no_grad():
            chances = plain(torch.tensor([ids])).logits[0].double().softmax(-1)
        expected -= sum(math.log(chances[n - 1, ids[n]]) for n in range(len(prompt), len(ids)))
    with torch.no_grad():
        assert tuned.loss_sum(_examples(spec, 9)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_fused_lora_has_the_values_and_gradients_of_peft(make_spec, reporter, dropout):
    spec = make_spec(lora={"adapter_dim": 4, "alpha": 8, "adapter_dropout": dropout})
    ours, theirs = TunedModel(spec, reporter), TunedModel(spec, reporter, fused=False)
    examples = _examples(spec, 5)
    for model in (ours, theirs):
        _stir(model)
        model.core.train(dropout == 0)  # the two draw different dropout masks, so compare without
        model.loss_sum(examples).backward()
    assert ours.loss_sum(examples).item() == pytest.approx(theirs.loss_sum(examples).item(), rel=1e-5)
    for name, parameter in ours.trainable.items():
        torch.testing.assert_close(parameter.grad, theirs.trainable[name].grad, rtol=1e-4, atol=1e-5)


def test_fused_dropout_drops_the_stated_share_and_keeps_the_mean(make_spec, reporter):
    spec = make_spec(lora={"adapter_dim": 4, "adapter_dropout": 0.25})
    model = TunedModel(spec, reporter)
    _stir(model)
    layer = next(m for m in model.core.modules() if hasattr(m, "lora_A"))
    x = torch.ones(200, 64)
    base = layer.base_layer(x)
    with torch.no_grad():
        layer.train()
        dropped = torch.stack([layer(x) - base for _ in range(50)])
        layer.eval()
        kept = layer(x) - base
    assert dropped.std(0).max() > 0
    torch.testing.assert_close(dropped.mean((0, 1)), kept[0], rtol=0.1, atol=0.02)


def test_gradients_with_dropout_match_numeric_differences(make_spec, reporter):
    spec = make_spec(lora={"adapter_dim": 2, "adapter_dropout": 0.5})
    model = TunedModel(spec, reporter)
    _stir(model)
    layer = next(m for m in model.core.modules() if hasattr(m, "lora_A")).double().train()
    x = torch.randn(3, 64, dtype=torch.float64, requires_grad=True)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight

    def value() -> torch.Tensor:
        torch.manual_seed(1)
        return layer(x).square().sum()

    value().backward()
    for tensor, gradient, where in ((a, a.grad, (1, 5)), (b, b.grad, (7, 1)), (x, x.grad, (2, 9))):
        with torch.no_grad():
            kept = tensor[where].item()
            tensor[where] = kept + 1e-6
            above = value().item()
            tensor[where] = kept - 1e-6
            below = value().item()
            tensor[where] = kept
        assert gradient[where].item() == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("max_tokens", [60, 200, 2048])
def test_rows_packed_together_have_the_loss_and_the_gradient_of_each_row_alone_in_peft(
    make_spec, reporter, max_tokens, monkeypatch
):
    """The other route: PEFT's arithmetic, transformers' own attention, one row a pass."""
    spec = make_spec()
    ours = TunedModel(spec, reporter)
    monkeypatch.setattr("embedded.customizer.packing.PLAIN_TYPES", set())
    alone = TunedModel(spec, reporter, fused=False)
    examples = _examples(spec, 12)
    losses = {}
    for name, model in (("ours", ours), ("alone", alone)):
        _stir(model)
        losses[name] = 0.0
        model.pass_tokens = max_tokens
        groups = model.passes(examples)
        assert len(groups) == (
            len(examples) if name == "alone" else len(passes([len(e) for e in examples], max_tokens))
        )
        for group in groups:
            loss = model.loss_sum(group)
            loss.backward()
            losses[name] += loss.item()
    assert losses["ours"] == pytest.approx(losses["alone"], rel=1e-5)
    for name, parameter in ours.trainable.items():
        torch.testing.assert_close(parameter.grad, alone.trainable[name].grad, rtol=1e-3, atol=1e-5)


def test_what_stands_in_one_row_changes_nothing_in_another(make_spec, reporter):
    """The losses of two rows add up, whatever the first row says."""
    spec = make_spec()
    model = TunedModel(spec, reporter)
    _stir(model)
    model.core.eval()
    first, second, other = _examples(spec, 1)[0], _examples(spec, 1, 3)[0], _examples(spec, 1, 1004)[0]
    with torch.no_grad():
        alone = {row: model.loss_sum([example]).item() for row, example in enumerate((first, second, other))}
        assert model.loss_sum([first, second]).item() == pytest.approx(alone[0] + alone[1], rel=1e-5)
        assert model.loss_sum([other, second]).item() == pytest.approx(alone[2] + alone[1], rel=1e-5)
        assert model.loss_sum([second, other]).item() == pytest.approx(alone[1] + alone[2], rel=1e-5)


def _run(spec, folder, reporter, count=40):
    model = TunedModel(spec, reporter)
    return model, Run(
        spec, folder, model, train=_examples(spec, count), validation=_examples(spec, 12, 1000), reporter=reporter
    )


def _folder(path: Path) -> JobFolder:
    path.mkdir(exist_ok=True)
    return JobFolder(path)


@pytest.mark.parametrize("kind", ["lora", "all_weights"])
def test_a_run_interrupted_and_resumed_ends_exactly_as_one_that_was_not(make_spec, tmp_path, kind, monkeypatch):
    lora = {"adapter_dim": 4, "adapter_dropout": 0.1} if kind == "lora" else None
    spec = make_spec(finetuning_type=kind, epochs=3, lora=lora)
    straight = _folder(tmp_path / "straight")
    model, run = _run(spec, straight, Reporter(straight.progress))
    best = run.train()

    broken = _folder(tmp_path / "broken")
    reporter = Reporter(broken.progress)
    _, run = _run(spec, broken, reporter)
    monkeypatch.setattr("embedded.customizer.training.CHECKPOINT_EVERY_S", 0.0)
    original = run.one_step

    def pulled_plug(batch):
        if run.step == 7:
            raise KeyboardInterrupt
        original(batch)

    run.one_step = pulled_plug
    with pytest.raises(KeyboardInterrupt):
        run.train()
    # One more event that no checkpoint covers: it must not show twice.
    reporter.train_loss(7, 99.0)
    resumed, run = _run(spec, broken, reporter)
    assert run.resume()
    assert run.step == 7
    assert run.train() == best
    for name, tensor in model.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[name]), name
    one, other = summarize(straight.progress), summarize(broken.progress)
    assert [(p["step"], p["value"]) for p in one.train_loss] == [(p["step"], p["value"]) for p in other.train_loss]
    assert [(p["step"], p["value"]) for p in one.val_loss] == [(p["step"], p["value"]) for p in other.val_loss]


def test_the_same_seed_gives_the_same_adapter_to_the_byte_and_another_seed_another(make_spec, tmp_path):
    written = []
    for number, seed in enumerate((7, 7, 8)):
        spec = make_spec(epochs=2, lora={"adapter_dim": 4, "adapter_dropout": 0.1}).model_copy(update={"seed": seed})
        folder = _folder(tmp_path / str(number))
        model, run = _run(spec, folder, Reporter(folder.progress))
        run.train()
        model.save(folder.artifact, load_tokenizer(spec))
        written.append((folder.artifact / "adapter_model.safetensors").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


def test_training_lowers_the_validation_loss_and_keeps_the_best_checkpoint(make_spec, tmp_path):
    spec = make_spec(epochs=4)
    folder = _folder(tmp_path / "job")
    _, run = _run(spec, folder, Reporter(folder.progress))
    before = run.validation_loss()
    best = run.train()
    points = summarize(folder.progress).val_loss
    assert min(points, key=lambda p: p["value"])["step"] == best
    assert run.validation_loss() == pytest.approx(min(p["value"] for p in points), rel=1e-6)
    assert min(p["value"] for p in points) < 0.9 * before
    assert [p["step"] for p in points] == [4, 9, 14, 19]


def test_a_step_follows_the_mean_loss_per_learned_token_of_the_whole_batch(make_spec, tmp_path, monkeypatch):
    spec = make_spec()
    folder = _folder(tmp_path / "job")
    model, run = _run(spec, folder, Reporter(folder.progress))
    _stir(model)
    examples = _examples(spec, 8)
    (model.loss_sum(examples) / sum(sum(e.learned) for e in examples)).backward()
    expected = {name: p.grad.clone() for name, p in model.trainable.items()}
    model.core.zero_grad()
    seen = {}

    def look(*_args):
        seen.update({name: p.grad.clone() for name, p in model.trainable.items()})

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", look)
    model.core.train()
    run.one_step(examples)
    for name, gradient in expected.items():
        torch.testing.assert_close(seen[name], gradient, rtol=1e-3, atol=1e-6)


def test_the_best_checkpoint_is_the_output_even_when_later_ones_are_worse(make_spec, tmp_path, monkeypatch):
    spec = make_spec(epochs=2, val_check_interval=1)
    folder = _folder(tmp_path / "job")
    model, run = _run(spec, folder, Reporter(folder.progress), count=16)
    losses, seen = iter([3.0, 1.0, 2.0, 4.0]), []

    def scripted():
        seen.append({name: tensor.clone() for name, tensor in model.tensors().items()})
        return next(losses)

    monkeypatch.setattr(run, "validation_loss", scripted)
    assert run.train() == 1
    assert any(not torch.equal(seen[1][name], seen[3][name]) for name in seen[1])
    assert all(torch.equal(seen[1][name], tensor) for name, tensor in model.tensors().items())


def test_early_stopping_after_ten_epochs_without_improvement(make_spec, tmp_path):
    spec = make_spec(epochs=40, learning_rate=1e-12)
    folder = _folder(tmp_path / "job")
    _, run = _run(spec, folder, Reporter(folder.progress), count=16)
    run.train()
    summary = summarize(folder.progress)
    assert (summary.epochs_completed, summary.steps_completed) == (11, 22)
    assert summary.logs[-1]["message"] == "stopped early"


def test_a_loss_that_is_no_number_ends_the_job(make_spec, tmp_path):
    folder = _folder(tmp_path / "job")
    spec = make_spec(learning_rate=1e30, warmup_steps=0)
    _, run = _run(spec, folder, Reporter(folder.progress))
    with pytest.raises(JobError, match="not a number at step") as caught:
        run.train()
    assert "learning_rate" in caught.value.explanation


def test_the_saved_adapter_loads_in_peft_and_changes_the_output(make_spec, tmp_path, weights):
    import peft
    from transformers import AutoModelForCausalLM

    spec = make_spec(epochs=2)
    folder = _folder(tmp_path / "job")
    model, run = _run(spec, folder, Reporter(folder.progress))
    run.train()
    model.save(folder.artifact, load_tokenizer(spec))
    config = json.loads((folder.artifact / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == MODEL_ID
    assert config["r"] == 8
    assert sorted(config["target_modules"]) == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    ids = torch.tensor([_examples(spec, 1)[0].ids])
    base = AutoModelForCausalLM.from_pretrained(weights)
    with torch.no_grad():
        plain = base(ids).logits
        adapted = peft.PeftModel.from_pretrained(base, str(folder.artifact)).eval()
        tuned = adapted(ids).logits
        merged = adapted.merge_and_unload()(ids).logits
    assert (tuned - plain).abs().max() > 0.1
    torch.testing.assert_close(tuned, merged, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        model.core.eval()
        layout = Layout(0, (ids.shape[1],))
        torch.testing.assert_close(model.core(input_ids=ids, layout=layout).logits, tuned, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["lora_merged", "all_weights"])
def test_whole_models_load_alone_with_their_tokenizer_and_have_the_validation_loss_reported(make_spec, tmp_path, kind):
    spec = make_spec(finetuning_type=kind, epochs=2, learning_rate=2e-3)
    folder = _folder(tmp_path / "job")
    model, run = _run(spec, folder, Reporter(folder.progress))
    before = run.validation_loss()
    run.train()
    model.save(folder.artifact, load_tokenizer(spec))
    assert not (folder.artifact / "adapter_config.json").exists()
    again = TunedModel(make_spec().model_copy(update={"weights": str(folder.artifact)}), Reporter(folder.progress))
    examples = _examples(spec, 12, 1000)
    load_tokenizer(spec.model_copy(update={"weights": str(folder.artifact)}))
    again.core.eval()
    with torch.no_grad():
        loss = again.loss_sum(examples).item() / sum(sum(e.learned) for e in examples)
    assert loss == pytest.approx(min(p["value"] for p in summarize(folder.progress).val_loss), rel=1e-4)
    assert loss < before


def test_bf16_mixed_keeps_the_adapter_in_fp32_and_nearly_the_same_loss(make_spec, tmp_path):
    losses = {}
    for precision in ("fp32", "bf16-mixed"):
        spec = make_spec(precision, epochs=3)
        folder = _folder(tmp_path / precision)
        model, run = _run(spec, folder, Reporter(folder.progress))
        assert {p.dtype for p in model.trainable.values()} == {torch.float32}
        run.train()
        losses[precision] = summarize(folder.progress).val_loss[-1]["value"]
    assert losses["bf16-mixed"] == pytest.approx(losses["fp32"], rel=0.03)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["q_proj"], {"layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj"}),
        (["linear_proj"], {"layers.0.self_attn.o_proj", "layers.1.self_attn.o_proj"}),
        (["*.layers.1.*.linear_fc1"], {"layers.1.mlp.gate_proj", "layers.1.mlp.up_proj"}),
    ],
)
def test_target_modules_take_names_nemo_names_and_wildcards(weights, targets, expected):
    from transformers import AutoModelForCausalLM

    core = AutoModelForCausalLM.from_pretrained(weights)
    assert {name.removeprefix("model.") for name in adapted_layers(core, targets)} == expected
    with pytest.raises(JobError, match=r"'w_pack' matches no linear layer"):
        adapted_layers(core, [*targets, "w_pack"])


def test_wildcard_targets_train_only_those_layers(make_spec, reporter):
    model = TunedModel(make_spec(lora={"target_modules": ["*.layers.1.*.q_proj"]}), reporter)
    assert {name.partition(".lora_")[0] for name in model.trainable} == {"model.layers.1.self_attn.q_proj"}


def _schedule(rows=100, **hyper):
    return Schedule.plan(Hyperparameters(finetuning_type="lora", batch_size=10, **hyper), rows)


def _validations(schedule):
    return [step for step in range(schedule.total_steps) if schedule.validates_after(step)]


@pytest.mark.parametrize(
    ("hyper", "expected"),
    [
        ({"epochs": 2}, [9, 19]),
        ({"epochs": 1, "val_check_interval": 0.5}, [4, 9]),
        ({"epochs": 2, "val_check_interval": 4}, [3, 7, 13, 17, 19]),
        ({"epochs": 2, "val_check_interval": 500}, [9, 19]),
        ({"epochs": 2, "val_check_interval": 1.0}, [9, 19]),
        ({"epochs": 1, "val_check_interval": 1}, list(range(10))),
        ({"epochs": 2, "max_steps": 5}, [3, 4]),
        ({"epochs": 2, "max_steps": 1}, [0]),
        ({"epochs": 2, "max_steps": -1}, [9, 19]),
    ],
)
def test_validation_happens_when_val_check_interval_says(hyper, expected):
    assert _validations(_schedule(**hyper)) == expected


def test_logging_is_every_tenth_step_or_more_often_on_short_runs():
    long, short = _schedule(rows=1000, epochs=3), _schedule(rows=100, epochs=3)
    assert [s for s in range(40) if long.logs_after(s)] == [9, 19, 29, 39]
    assert sum(short.logs_after(s) for s in range(short.total_steps)) >= 20
    assert [s for s in range(30) if _schedule(epochs=3, log_every_n_steps=7).logs_after(s)] == [6, 13, 20, 27, 29]


def test_learning_rate_warms_up_then_falls_along_a_cosine_or_stays():
    schedule = _schedule(rows=1000, epochs=1, learning_rate=1.0, warmup_steps=10)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[9] == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.1 + 0.9 / 10)
    assert rates[55] == pytest.approx(0.55)  # half way down between 1 and its tenth
    assert rates[99] == pytest.approx(0.1, abs=1e-3)
    flat = _schedule(rows=1000, epochs=1, learning_rate=1.0, warmup_steps=10, optimizer="adamw_with_flat_lr")
    assert {flat.rate(step) for step in range(10, 100)} == {1.0}


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"lora": {"adapter_dim": 12}}, "power of 2"),
        ({"val_check_interval": 0}, "val_check_interval"),
        ({"val_check_interval": 1.5}, "val_check_interval"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"min_learning_rate": 1.0}, "min_learning_rate"),
    ],
)
def test_senseless_hyperparameters_are_refused(hyper, message):
    with pytest.raises(ValueError, match=message):
        Hyperparameters.model_validate({"finetuning_type": "lora", **hyper})


def test_dropout_of_the_model_itself_is_set_or_warned_about(make_spec, reporter):
    model = TunedModel(make_spec(sft={"attention_dropout": 0.1, "hidden_dropout": 0.2}), reporter)
    assert model.core.config.attention_dropout == 0.1
    assert reporter.warnings == ["sft.hidden_dropout has no effect: llama models have no such dropout"]


def test_half_a_line_in_the_progress_file_is_not_read(tmp_path):
    path = tmp_path / "progress.jsonl"
    reporter = Reporter(path)
    reporter.plan(5, 10, 0)
    reporter.step(1)
    with path.open("ab") as file:
        file.write(b'{"event": "step", "at": "2026-01-01T00:00:00.0", "ste')
    assert summarize(path).steps_completed == 1
    assert summarize(tmp_path / "absent").steps_completed == 0


def test_default_lora_is_rank_8_alpha_16_on_all_linear_layers():
    assert Hyperparameters(finetuning_type="lora").lora == Lora(
        adapter_dim=8, alpha=16, adapter_dropout=0.0, target_modules=None
    )
