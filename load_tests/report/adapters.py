"""The part of the report that is about adapters: what they cost in words, and the chart that shows it at a glance."""

from collections.abc import Sequence
from typing import Any, Final

from load_tests.report import formats
from nemostack.report.svg import Bar, Group, Series, bars, lines

WIDTH: Final = 640
BASE, WARM, COLD = 0, 2, 1
CONTRASTS: Final = {
    "base": ("base model alone", "adapters alone"),
    "neighbour": ("without the neighbour", "with the neighbour"),
    "beside": ("without the command", "while the command ran"),
}


def sentences(effects: dict[str, Any]) -> list[str]:
    """Say what the run found about adapters, most important first."""
    told = [*_of_blocks(effects), *_of_cold(effects), *_of_fairness(effects), *_of_slots(effects), *_of_churn(effects)]
    return [sentence for sentence in told if sentence]


def _of_blocks(effects: dict[str, Any]) -> list[str]:
    contrast = effects["contrast"]
    if contrast is None:
        return []
    off, on = CONTRASTS[contrast["kind"]]
    found = []
    for name, what, less in (
        ("output_token_throughput", "tokens per second", True),
        ("ttft_ms p50", "time to the first token", False),
        ("tpot_ms p50", "time per output token", False),
    ):
        ratio = contrast["ratios"][name]
        if ratio["ratio"] is not None:
            found.append(f"{change(ratio, less=less)} {what}")
    blocks = " and ".join(map(str, contrast["blocks"]))
    if not found:
        return [f"Blocks {off} and {on}: too few replies in them to compare ({blocks} blocks)."]
    return [
        f"{on[0].upper()}{on[1:]} against {off} ({blocks} blocks of {contrast['block_s']:g} s): {', '.join(found)}."
    ]


def change(ratio: dict[str, Any], *, less: bool = False) -> str:
    """Write a ratio as a change with its interval: `29 % less (95 % interval: 25 to 33 % less)`."""

    def words(value: float) -> str:
        return f"{abs(value - 1) * 100:.0f} % {'less' if value < 1 else 'more'}"

    if ratio["low"] is None:
        return f"{words(ratio['ratio'])} (too few values for an interval)"
    ends = (ratio["high"], ratio["low"]) if less else (ratio["low"], ratio["high"])
    return f"{words(ratio['ratio'])} ({words(ends[0])} to {words(ends[1])})"


def _of_cold(effects: dict[str, Any]) -> list[str]:
    if not effects["asked"]:
        return []
    slots = effects["slots"]
    told = {"server": "the server says", "option": "by --lora-slots", "assumed": "assumed, as the server does not say"}
    cold, warm = (effects["groups"][name]["percentiles"]["p50"] for name in ("cold", "warm"))
    share = effects["cold_share"]
    interval = effects["cold_share_interval"]
    low, middle, high = (f"{value * 100:.0f}" for value in (interval[0], share, interval[1]))
    asked = f"{effects['cold']} of {effects['asked']} requests of adapters ({middle} %, {low} to {high} %)"
    count = f"{slots['count']} slots ({told[slots['told_by']]})"
    certain = f"{effects['seen']} of these answers are certain, the others estimated"
    found = [f"{asked} probably found theirs not loaded in {count}; {certain}."]
    if cold is not None and warm is not None:
        found.append(
            f"A cold adapter's first token came after {formats.ms(cold)} (median) instead of {formats.ms(warm)}."
        )
    return found


def _of_fairness(effects: dict[str, Any]) -> list[str]:
    fair, worst = effects["fairness"], effects["worst"]
    found = []
    if worst is not None and worst["of"] > 1:
        interval = worst["interval"]
        ends = f" ({formats.ms(interval[0])} to {formats.ms(interval[1])})" if interval else ""
        found.append(
            f"The slowest adapter is {worst['model']}: TTFT {worst['stat']} {formats.ms(worst['value'])}{ends}, of "
            f"{worst['of']} with enough requests."
        )
    if fair["jain"] is not None:
        found.append(
            f"Fairness over {fair['judged']} adapters (Jain's index of tokens per second that a caller got): "
            f"{fair['jain']:.3f}; {fair['slowest']} got {fair['slowest_share']:.0%} of the mean."
        )
    if (tenants := effects["tenant_fairness"]) is not None and tenants["jain"] is not None:
        found.append(
            f"Over {tenants['judged']} tenants: {tenants['jain']:.3f}; {tenants['slowest'] or 'none'} got "
            f"{tenants['slowest_share']:.0%} of the mean."
        )
    return [sentence.replace("% of the mean", " % of the mean") for sentence in found]


def _of_slots(effects: dict[str, Any]) -> list[str]:
    advice = effects["advice"]
    if advice is None:
        return []
    expected, measured = (advice[key] * 100 for key in ("expected_cold_share", "measured_cold_share"))
    model = (
        f"By the popularity of this run, {advice['measured_slots']} slots make {expected:.0f} % of requests of "
        f"adapters cold (measured: {measured:.0f} %)."
    )
    if advice["target_ms"] is None:
        return [model]
    goal = f"TTFT {advice['metric'].split()[1]} of {formats.ms(advice['target_ms'])}"
    if advice["needed"] is None:
        return [model, f"No number of slots meets {goal}: {advice['why_not']}."]
    spread = next((one for one in advice["replicas"] if one["meets"]), None)
    more = (
        f", or {spread['replicas']} replicas of {advice['measured_slots']} slots with adapters spread over them"
        if spread and spread["replicas"] > 1
        else ""
    )
    slots = "1 slot" if advice["needed"] == 1 else f"{advice['needed']} slots"
    return [model, f"{goal} needs {slots} (`max_loras`) on one replica{more}."]


def _of_churn(effects: dict[str, Any]) -> list[str]:
    churn = effects["churn"]
    if churn is None:
        return []
    keys = ("load_ms", "first_ttft_ms", "second_ttft_ms")
    load, first, second = (formats.ms(churn[key]["percentiles"]["p50"]) for key in keys)
    times = f"loading took {load} (median), the first token then {first}, that of the next request {second}"
    found = [f"{churn['rounds']} adapters came and went: {times}."]
    if churn["problems"]:
        found.append(f"{len(churn['problems'])} of them had a problem; the first: {churn['problems'][0]}.")
    return found


def plots(effects: dict[str, Any]) -> list[dict[str, Any]]:
    """Draw the cost at a glance, and the curve of slots."""
    found = [_first_token(effects)]
    if effects["contrast"] is not None:
        found.append(_blocks(effects["contrast"]))
    if effects["advice"] is not None and len(effects["advice"]["choices"]) > 1:
        found.append(_slots(effects["advice"]))
    return found


def _plot(title: str, svg: Any, *, note: str = "", legend: Sequence[tuple[str, int]] = ()) -> dict[str, Any]:
    return {"title": title, "note": note, "legend": legend, "svg": svg}


def _first_token(effects: dict[str, Any]) -> dict[str, Any]:
    names = (("base", "base model", BASE), ("warm", "adapter, warm", WARM), ("cold", "adapter, cold", COLD))
    rows = []
    for key, label, style in names:
        spread = effects["groups"][key]
        if spread["count"]:
            p50, p95 = spread["percentiles"]["p50"], spread["percentiles"]["p95"]
            rows.append(Group(label, (Bar(style, p50, None, p95, f"{formats.ms(p50)}, n={spread['count']}"),)))
    svg = bars("Time to first token: base model, warm and cold adapters", rows, unit="ms", width=WIDTH)
    return _plot("What a caller waits for the first token", svg, note="bar: median, whisker: p95")


def _blocks(contrast: dict[str, Any]) -> dict[str, Any]:
    off, on = CONTRASTS[contrast["kind"]]
    points = {
        style: [(row["start"], row["output_token_throughput"]) for row in contrast[key]]
        for style, key in ((BASE, "off"), (COLD, "on"))
    }
    svg = lines(
        "Tokens per second by block",
        [Series(label, style, points[style], marks=True) for label, style in ((off, BASE), (on, COLD))],
        x_label="seconds since start",
        y_label="tokens/s",
        width=WIDTH,
    )
    return _plot("Output tokens per second, block by block", svg, legend=[(off, BASE), (on, COLD)])


def _slots(advice: dict[str, Any]) -> dict[str, Any]:
    curve = [(float(one["slots"]), one["cold_share"]) for one in advice["choices"]]
    measured = [(float(advice["measured_slots"]), advice["measured_cold_share"])]
    svg = lines(
        "Share of cold requests by number of slots",
        [Series("expected", WARM, curve), Series("measured", COLD, measured, marks=True)],
        x_label="LoRA slots",
        y_label="share",
        y_max=1.0,
        width=WIDTH,
    )
    return _plot(
        "Share of requests that find their adapter not loaded",
        svg,
        note="expected: an LRU of so many slots under the run's popularity",
        legend=[("expected", WARM), ("measured", COLD)],
    )
