"""What a run would do, on stdout: stages, time, cost, and what of it nobody knows."""

from rich.console import Console

from cli.render import say
from nemostack.errors import BadInput
from nemostack.prices import pick, read_prices
from workflows.data import dataset
from workflows.forecast import Forecast, Span
from workflows.gate.policy import CostRule, read_policy
from workflows.settings import Settings

_HOUR = 3600.0


def plan(console: Console, settings: Settings, ahead: Forecast, gpu: str | None) -> None:
    """Print all of it. `gpu`: a row of the price table, instead of what the policy says."""
    rule = _rule(settings, gpu)
    if settings.benchmark is None:
        data = dataset.load(settings)
    for number, stage in enumerate(ahead.stages, start=1):
        time = "" if stage.seconds is None else f": about {_spoken(stage.seconds)}"
        say(console, f"{number}. {stage.title}{': done before, kept' if stage.settled else time}")
    if settings.benchmark is None:
        rows = ", ".join(f"{name} {facts.rows}" for name, facts in data.facts.splits.items())
        longest = settings.max_tokens or data.max_tokens()
        say(console, f"Dataset {settings.dataset}: {rows} rows; answers of at most {longest} tokens")
        for warning in data.facts.warnings:
            say(console, f"warning: {warning}")
    if settings.sweep is not None:
        _planned_trials(console, settings)
    if ahead.resumes is not None:
        say(console, f"Goes on with {ahead.resumes} (--new starts another).")
    say(console, f"Time: {_time(ahead)}")
    say(console, f"Cost: {_cost(ahead, rule)}")
    say(console, "Nothing was created (--dry-run).")


def _rule(settings: Settings, gpu: str | None) -> CostRule:
    rule = read_policy(settings.policy).cost
    if gpu is None:
        return rule
    try:
        pick(read_prices(), gpu)
    except BadInput as error:
        raise BadInput(f"--gpu {gpu}: {error}") from error
    return rule.model_copy(update={"gpu": gpu, "price_per_gpu_hour": None})


def _time(ahead: Forecast) -> str:
    if ahead.total is None:
        found = f"{ahead.earlier} earlier run(s)" if ahead.earlier else "no earlier run"
        return f"unknown, there is nothing to go on: {found} with this model on this stack, and none of these stages"
    text = f"about {_spoken(ahead.total)}, by {ahead.earlier} earlier run(s) on this stack"
    if ahead.unknown:
        return f"{text}, and what nobody has measured here yet: {', '.join(ahead.unknown)}"
    return text


def _cost(ahead: Forecast, rule: CostRule) -> str:
    training, serving = ahead.training, ahead.serving
    if training is None and serving is None:
        return "unknown without times"
    hours = [
        sum(
            getattr(span, end) * gpus / _HOUR
            for span, gpus in ((training, rule.training_gpus), (serving, rule.serving_gpus))
            if span is not None
        )
        for end in ("low", "middle", "high")
    ]
    text = f"{hours[1]:.3g} GPU hours"
    if rule.hourly is None:
        return f"{text}; no price is known: name a row of the price table with --gpu, or give the policy a `cost`"
    low, middle, high = (f"{value * rule.hourly:.2f}" for value in hours)
    return f"about {middle} USD ({low} to {high}), {text} at {rule.where_from}"


def _spoken(span: Span) -> str:
    if span.measured == 1:
        return f"{_clock(span.middle)} (measured once)"
    return f"{_clock(span.middle)} ({_clock(span.low)} to {_clock(span.high)})"


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.1f} h"


def _planned_trials(console: Console, settings: Settings) -> None:
    sweep = settings.sweep
    assert sweep is not None
    if sweep.search == "grid":
        for number, choice in enumerate(sweep.grid(settings.seed), start=1):
            say(console, f"Trial {number}: {choice}")
    else:
        low, high = sweep.rate_range
        ranks, epochs = (", ".join(map(str, values)) for values in (sweep.ranks, sweep.epochs))
        say(
            console,
            f"{sweep.count} trials by {sweep.search}: rank {ranks}, learning rate {low:g} to {high:g}, epochs {epochs}",
        )
