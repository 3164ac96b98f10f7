"""Numbers and objectives of a report as words, for the page and the terminal alike."""

from typing import Any

from load_tests.traffic.lengths import Lengths
from load_tests.verdict import metrics
from nemostack.report.svg import number

NOT_ENOUGH = "not enough"


def ms(value: float | None) -> str:
    """Write milliseconds."""
    if value is None:
        return NOT_ENOUGH
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    if value >= 100:
        return f"{value:,.0f} ms"
    return f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def rate(value: float | None) -> str:
    """Write a number per second."""
    return NOT_ENOUGH if value is None else number(value)


def gate_value(gate: dict[str, Any], key: str = "value") -> str:
    """Write a gate's value or target in the unit of its metric."""
    value = gate[key]
    if value is None:
        return NOT_ENOUGH
    if gate.get("bound") == "max_ratio":
        return f"{value:.2f} times"
    if gate["metric"] in metrics.LATENCIES:
        return ms(value)
    if gate["metric"] in {"error_rate", "slo_attainment"}:
        return f"{value:.2%}"
    return f"{value:.2f} {'tokens/s' if 'token' in gate['metric'] else '/s'}"


def gate_interval(gate: dict[str, Any]) -> str:
    """Write a gate's 95 % interval; empty where there is none."""
    if gate["interval"] is None:
        return ""
    low, high = (gate_value({**gate, "value": end}) for end in gate["interval"])
    return f"{low} to {high}"


def objective(gate: dict[str, Any]) -> str:
    """Write an objective: `TTFT p95 <= 500 ms (overall)`."""
    latency = metrics.LATENCIES.get(gate["metric"])
    label = latency.label if latency else gate["metric"].replace("_", " ")
    stat = f" {gate['stat']}" if gate["stat"] else ""
    sign = ">=" if gate["bound"] == "min" else "<="
    to = f" that of {gate['to']}" if gate["bound"] == "max_ratio" else ""
    return f"{label}{stat} {sign} {gate_value(gate, 'target')}{to} ({gate['scope']})"


def asked(spec: dict[str, Any]) -> str:
    """Say what requests asked, from the spec as report.json has it."""
    if spec["input_tokens"] is None:
        parts = [str(spec["prompts"]) + (", unique prefix" if spec["unique_prefix"] else "")]
    else:
        parts = [f"random words, {Lengths(**spec['input_tokens'])} prompt tokens"]
        if spec["shared_prefix"]:
            parts.append(f"{spec['shared_prefix']} of them shared, {spec['prefix_groups']} different prefixes")
    if spec["turns"] > 1:
        parts.append(f"chats of {spec['turns']} questions")
    if spec["tools"]:
        parts.append(f"tools of {spec['tools']}")
    output = spec["max_tokens"] if spec["output_tokens"] is None else Lengths(**spec["output_tokens"])
    parts.append(f"{output} output tokens {'exactly' if spec['fixed_length'] else 'at most'}")
    parts.append(f"temperature {spec['temperature']:g}")
    return ", ".join(parts)
