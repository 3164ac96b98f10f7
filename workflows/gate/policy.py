"""The policy of a gate: a YAML file in which a team writes down what a model must show before it is used.

```yaml
version: 1
description: Legal answers, first release
min_items: 200                      # with fewer the gate does not say GO
quality:                            # all of them, on the same items, against the best of the others
  - {metric: rouge_l, min_gain: 0.02}    # better, by more than this
  - {metric: judge, max_loss: 0.1}       # not worse by more than this
forgetting: {max_loss: 0.05, unclear: INCONCLUSIVE}    # on each benchmark of the run
correct: {metric: em, at_least: 1.0}                    # what counts as a correct answer, for its cost
cost: {gpu: aws/a10g-24gb, max_run: 20, max_per_correct: 0.01}
require_load_test: true
```

Refuses unknown keys, metrics and GPUs, and rules that ask for nothing. Its JSON schema is docs/gate-policy.schema.json.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from nemostack.errors import BadInput
from nemostack.models import Model
from nemostack.prices import pick, read_prices
from nemostack.validation import validation_lines
from workflows.results.metrics import BY_KEY, PRIMARY

Outcome = Literal["GO", "NO-GO", "INCONCLUSIVE"]


def _known_metric(key: str) -> str:
    if key not in BY_KEY:
        raise ValueError(f"{key} is no metric; choose one of {', '.join(BY_KEY)}")
    return key


MetricKey = Annotated[str, AfterValidator(_known_metric)]


class QualityRule(Model):
    """A gain that is asked for, or a loss that is allowed: of the mean, in the unit of the metric."""

    metric: MetricKey
    min_gain: float | None = Field(default=None, ge=0, description="Better than the baseline by more than this")
    max_loss: float | None = Field(default=None, gt=0, description="Not worse than the baseline by more than this")

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> Self:
        if (self.min_gain is None) == (self.max_loss is None):
            raise ValueError("give exactly one of min_gain and max_loss")
        return self

    @property
    def margin(self) -> float:
        """What the difference must be above."""
        return self.min_gain if self.min_gain is not None else -(self.max_loss or 0.0)


class ForgettingRule(Model):
    """What the tuned model may lose on general benchmarks, as a share of right answers."""

    max_loss: float = Field(default=0.05, ge=0, lt=1, description="On each benchmark")
    benchmarks: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(
        default_factory=dict, description="Another limit for some of them, which the run must have asked"
    )
    unclear: Literal["GO", "INCONCLUSIVE"] = Field(
        default="INCONCLUSIVE", description="What a benchmark of too few questions to tell comes to"
    )


class CorrectAnswer(Model):
    """When an answer counts as correct."""

    metric: MetricKey = "em"
    at_least: float = 1.0


class CostRule(Model):
    """What hardware or a hosted endpoint costs, and limits, in US dollars."""

    gpu: str | None = Field(default=None, description="A row of the price table, such as aws/a100-80gb")
    price_per_gpu_hour: float | None = Field(default=None, ge=0, description="Your own price instead")
    serving_gpus: int = Field(default=1, ge=1)
    training_gpus: int = Field(default=1, ge=1)
    prompt_price: float | None = Field(default=None, ge=0, description="Of a million tokens, at a hosted endpoint")
    completion_price: float | None = Field(default=None, ge=0, description="The same for tokens of answers")
    max_run: float | None = Field(default=None, gt=0, description="The run as a whole: training and evaluations")
    max_per_correct: float | None = Field(default=None, gt=0, description="A correct answer of the candidate")

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.gpu is not None:
            try:
                pick(read_prices(), self.gpu)
            except BadInput as error:
                raise ValueError(f"gpu: {error}; or give price_per_gpu_hour") from None
        if (self.prompt_price is None) != (self.completion_price is None):
            raise ValueError("give both prompt_price and completion_price, or neither")
        return self

    @property
    def hourly(self) -> float | None:
        """Of one GPU."""
        if self.price_per_gpu_hour is not None:
            return self.price_per_gpu_hour
        return pick(read_prices(), self.gpu).usd_per_gpu_hour if self.gpu is not None else None

    @property
    def where_from(self) -> str:
        """Say whose price it is, and of which day."""
        if self.price_per_gpu_hour is not None:
            return f"{self.price_per_gpu_hour:g} USD a GPU hour, by the policy"
        if self.gpu is None:
            return "no price given"
        return pick(read_prices(), self.gpu).in_words


class Policy(Model):
    """The file. Without one: better in ROUGE-L than the best of the others, and no benchmark clearly forgotten."""

    version: Literal[1] = 1
    description: str = ""
    min_items: int = Field(default=1, ge=1, description="Items that both models answered; fewer: no GO")
    quality: tuple[QualityRule, ...] = Field(default=(QualityRule(metric=PRIMARY, min_gain=0.0),), min_length=1)
    forgetting: ForgettingRule | None = ForgettingRule(unclear="GO")
    correct: CorrectAnswer = CorrectAnswer()
    cost: CostRule = CostRule()
    require_load_test: bool = Field(default=False, description="The run's load test must have met its objectives")

    @model_validator(mode="after")
    def _each_metric_once(self) -> Self:
        metrics = [rule.metric for rule in self.quality]
        if len(set(metrics)) < len(metrics):
            raise ValueError("quality: a metric stands there twice")
        return self


def read_policy(path: Path | None) -> Policy:
    """Read and check the file; the default policy without one. BadInput has a line for each problem."""
    if path is None:
        return Policy()
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Policy.model_validate(raw if raw is not None else {})
    except ValidationError as error:
        raise BadInput("\n  ".join([f"{path} is not a valid gate policy:", *validation_lines(error)])) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"cannot read the gate policy {path}: {' '.join(str(error).split())}") from error


def schema() -> dict[str, Any]:
    """JSON schema of the file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Policy.model_json_schema(),
        "title": "Policy of nemostack gate",
    }
