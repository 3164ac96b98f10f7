"""The report of the GPU benchmarks: a Markdown page and two plots, from the JSON files of the parts that have run."""

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.serving import CONTROL, NIM, VLLM
from benchmarks.gpu.training import OURS, PLAIN

NOTE = (
    "The weights of this model are random: its speed is real, its text is not. Intervals are 95 % bootstrap intervals."
)


def write(folder: Path) -> None:
    """Write `report.md`, `training.png` and `serving.png` into `folder`, for the parts that are there."""
    lines = ["# The local stack on a GPU", ""]
    if (checks := _read(folder / "checks.json")) is not None:
        lines += ["## Checks", "", "| check | passed | values |", "|---|---|---|"]
        for name, values in checks.items():
            shown = ", ".join(f"{key} {_short(value)}" for key, value in values.items() if key != "passed")
            lines.append(f"| {name} | {'yes' if values['passed'] else 'NO'} | {shown} |")
        lines.append("")
    if (pipeline := _read(folder / "pipeline.json")) is not None:
        lines += ["## Pipeline", ""]
        for name, step in pipeline.items():
            lines += [f"`nemostack {name}`: exit code {step['exit_code']} after {step['seconds']} s", ""]
            lines += ["```", step["output"], "```", ""]
    if (training := _read(folder / "training.json")) is not None:
        cases = training["cases"] if isinstance(training, dict) else training
        lines += _training(cases)
        _plot_training(cases, folder / "training.png")
    if (serving := _read(folder / "serving.json")) is not None:
        lines += _serving(serving)
        _plot_serving(serving["cells"], folder / "serving.png")
    if (saturation := _read(folder / "saturation.json")) is not None:
        lines += _saturation(saturation)
    if (several := _read(folder / "several.json")) is not None:
        lines += _several(several)
    (folder / "report.md").write_text("\n".join(lines) + "\n")


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/").replace("\n", " ")[:160]


def _training(cases: list[dict[str, Any]]) -> list[str]:
    head = f"| rank | batch | rows | {OURS} tokens/s | MFU | {PLAIN} tokens/s | MFU | ratio | memory GiB |"
    lines = ["## Training", "", NOTE, "", head, "|---|---|---|---|---|---|---|---|---|"]
    for case in cases:
        start = f"| {case['rank']} | {case['batch_size']} | {case['lengths']} |"
        if "ratio" not in case:
            lines.append(f"{start} {case['problem'] or 'not measured'} | | | | | |")
            continue
        sides = " ".join(f"{_speed(case[name])} | {case[name]['mfu']:.1%} |" for name in (OURS, PLAIN))
        memory = " / ".join(f"{case['peak_gib'][name]:.0f}" for name in (OURS, PLAIN) if name in case["peak_gib"])
        lines.append(f"{start} {sides} {_ratio(case['ratio'])} | {memory} |")
    return [*lines, ""]


def _serving(serving: dict[str, Any]) -> list[str]:
    sides = f"{NIM} tokens/s | first token p50 ms | {VLLM} tokens/s | p50 ms | ratio | {CONTROL}: ratio"
    lines = [
        "## Serving",
        "",
        NOTE,
        "",
        f"| adapters | streams | {sides} | rounds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in serving["cells"]:
        if "ratio" in cell:
            sides = " ".join(f"{_speed(cell[name])} | {cell[name]['first_token_p50_ms']} |" for name in (NIM, VLLM))
            start = f"| {cell['adapters']} | {cell['streams']} |"
            control = _ratio(cell["control_ratio"]) if "control_ratio" in cell else ""
            lines.append(f"{start} {sides} {_ratio(cell['ratio'])} | {control} | {cell['rounds']} |")
    for cell in serving.get("min_tokens", []):
        lines += ["", f"With `min_tokens`, {cell['streams']} streams: {_ratio(cell['ratio'])} of the tokens/s without."]
    lines += [
        "",
        "### Where the time of a start goes",
        "",
        f"{NIM} starts after {VLLM}, with vLLM's cache filled.",
        "",
    ]
    for name, phases in serving["start"].items():
        lines += [f"| {name} | seconds since its start | log |", "|---|---|---|"]
        lines += [f"| {one['phase']} | {one['at_s']} | {one['line'].replace('|', '/')} |" for one in phases]
        lines.append("")
    return lines


def _saturation(tests: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["## Load tests", "", NOTE, ""]
    lines += ["| load test | tokens/s | TTFT p50, p95 ms | TPOT p50, p95 ms | exit code |", "|---|---|---|---|---|"]
    for name, test in tests.items():
        speed = f"{test['tokens_per_s']:,.0f}" if "tokens_per_s" in test else ""
        waits = [
            f"{test[kind]['p50']:,.1f}, {test[kind]['p95']:,.1f}" if kind in test else ""
            for kind in ("ttft_ms", "tpot_ms")
        ]
        lines.append(
            f"| [{name}](saturation/{name}/report.html) | {speed} | {' | '.join(waits)} | {test['exit_code']} |"
        )
    return [*lines, ""]


def _several(several: dict[str, Any]) -> list[str]:
    lines = ["## Several GPUs", "", NOTE, ""]
    lines += ["| training on | tokens/s | validation loss | SHA-256 of the adapter |", "|---|---|---|---|"]
    for one in several["training"]:
        adapter = one["adapter_sha256"][:12]
        lines.append(f"| {one['gpus']} | {one['tokens_per_s']:,} | {one['validation_loss']:.5f} | {adapter} |")
    lines += ["", "| NIM on | seconds to start | tokens/s by streams |", "|---|---|---|"]
    for one in several["serving"]:
        speeds = ", ".join(f"{many}: {max(values):,}" for many, values in one["tokens_per_s"].items())
        lines.append(f"| {one['gpus']} | {one['ready_s']} | {speeds} |")
    return [*lines, ""]


def _speed(side: dict[str, Any]) -> str:
    low, high = side["interval"]
    return f"{side['tokens_per_s']:,} [{low:,}, {high:,}]"


def _ratio(ratio: dict[str, Any]) -> str:
    low, high = ratio["interval"]
    return f"**{ratio['value']:.3f}** [{low:.3f}, {high:.3f}]"


def _plot_training(cases: list[dict[str, Any]], path: Path) -> None:
    measured = [case for case in cases if "ratio" in case]
    labels = [f"r{case['rank']} b{case['batch_size']}\n{case['lengths']}" for case in measured]
    _bars(labels, {name: [case[name] for case in measured] for name in (OURS, PLAIN)}, "training, tokens/s", path)


def _plot_serving(cells: list[dict[str, Any]], path: Path) -> None:
    measured = [cell for cell in cells if "ratio" in cell]
    labels = [f"{cell['adapters']} adapters\n{cell['streams']} streams" for cell in measured]
    _bars(labels, {name: [cell[name] for cell in measured] for name in (NIM, VLLM)}, "serving, tokens/s", path)


def _bars(labels: list[str], sides: dict[str, list[dict[str, Any]]], title: str, path: Path) -> None:
    if not labels:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(max(6, 0.8 * len(labels)), 4))
    for number, (name, values) in enumerate(sides.items()):
        heights = [value["tokens_per_s"] for value in values]
        below = [max(0, value["tokens_per_s"] - value["interval"][0]) for value in values]
        above = [max(0, value["interval"][1] - value["tokens_per_s"]) for value in values]
        places = [place + 0.4 * (number - 0.5) for place in range(len(labels))]
        axes.bar(places, heights, 0.4, yerr=[below, above], label=name, capsize=3)
    axes.set_xticks(range(len(labels)), labels, fontsize=7)
    axes.set_title(title, loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(sides), frameon=False)  # above, where no bar is
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
