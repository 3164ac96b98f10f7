"""Options that several commands share, in bundles that are declared once and spread into each command's signature.

A command decorated with `spread` may have parameters that are bundles: on the command line each becomes its options,
in the place of the parameter (those of `target` come last). The parameter's default says the options' defaults.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import typer

from nemostack import log_lines
from nemostack.errors import BadInput
from nemostack.models import SAMPLE_MODEL_SUITS, Hyperparameters
from nemostack.outputs import StackOutputs
from nemostack.stack_outputs import ENV_OUTPUTS, FLAG_KEYS, named_file, resolve
from workflows.settings import SAMPLE_ROWS, Settings

_PANEL = "Which services"
_DEFAULTS = Settings()
_HYPER = _DEFAULTS.hyperparameters


@dataclass(frozen=True)
class Bundle:
    """Fields are options: annotated as Typer wants them, with their defaults."""

    @classmethod
    def parameters(cls, defaults: Any) -> dict[str, tuple[Any, Any]]:
        """Name of each option -> annotation and default, taken from `defaults` if it is a bundle."""
        return {
            field.name: (field.type, getattr(defaults, field.name) if isinstance(defaults, cls) else field.default)
            for field in fields(cls)
        }

    @classmethod
    def made(cls, values: dict[str, Any]) -> Self:
        """Take the options out of a command's values."""
        return cls(**{name: values.pop(name) for name in cls.parameters(None)})

    def chosen(self) -> dict[str, Any]:
        """All options by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class TargetOptions(Bundle):
    """What the user said about the services: --stack, --outputs, and one option per key of the stack outputs."""

    stack: str
    outputs: Path | None
    flags: dict[str, str | None]

    @classmethod
    def parameters(cls, defaults: Any) -> dict[str, tuple[Any, Any]]:
        """One option for each key of the outputs that may be given singly."""
        del defaults
        shared: dict[str, tuple[Any, Any]] = {"stack": (StackOption, "local"), "outputs": (OutputsOption, None)}
        for key in FLAG_KEYS:
            about = f"{StackOutputs.model_fields[key].description}."
            option = typer.Option(f"--{key.replace('_', '-')}", help=about, rich_help_panel=_PANEL)
            shared[key] = (Annotated[str | None, option], None)
        return shared

    @classmethod
    def made(cls, values: dict[str, Any]) -> Self:
        """Take the options out of a command's values."""
        flags = {key: values.pop(key) for key in FLAG_KEYS}
        return cls(values.pop("stack"), values.pop("outputs"), flags)

    def resolve(self) -> StackOutputs:
        """TargetError when that does not add up to a stack."""
        file = named_file(self.outputs)
        log_lines.bind(stack=file.name if file else self.stack)
        return resolve(self.stack, self.outputs, self.flags)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameters of `command` that are bundles by their options."""
    bundles: dict[str, type[Bundle]] = {}
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters: list[inspect.Parameter] = []
    last: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = parameter.annotation
        if not (isinstance(kind, type) and issubclass(kind, Bundle)):
            parameters.append(parameter.replace(kind=keyword))
            continue
        bundles[name] = kind
        (last if kind is TargetOptions else parameters).extend(
            inspect.Parameter(option, keyword, annotation=annotation, default=default)
            for option, (annotation, default) in kind.parameters(parameter.default).items()
        )
    parameters += last

    @functools.wraps(command)
    def called(**values: Any) -> None:
        made = {name: kind.made(values) for name, kind in bundles.items()}
        command(**made, **values)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


OutputsOption = Annotated[
    Path | None,
    typer.Option(
        "--outputs",
        help=f"JSON file with the stack outputs, instead of asking Pulumi. Also: {ENV_OUTPUTS}.",
        rich_help_panel=_PANEL,
    ),
]
ProductOption = Annotated[
    Literal["microservices", "platform"], typer.Option("--product", help="Product line; platform: the NeMo Platform.")
]
StackOption = Annotated[str, typer.Option("--stack", help="Pulumi stack to work on.", rich_help_panel=_PANEL)]

_FILES = "Folder with train, validation and test as .jsonl, .csv or .parquet."
DatasetOption = Annotated[Path | None, typer.Option("--dataset", help=f"{_FILES} Default: the sample dataset.")]
PromptColumn = Annotated[
    str, typer.Option("--prompt-column", help="Key of the question in each row; may be a path, such as request.prompt.")
]
CompletionColumn = Annotated[
    str, typer.Option("--completion-column", help="Key of the answer in each row, or its path.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="Test items per evaluation, the first ones.")]
ShotsOption = Annotated[int, typer.Option("--shots", min=0, max=64, help="Examples shown in the prompt.")]
ChooseShotsOption = Annotated[
    str,
    typer.Option(
        "--choose-shots", metavar="N,N", help="Choose the number of examples on the validation split, of these."
    ),
]
ExamplesOption = Annotated[
    str,
    typer.Option("--examples", help="random, similar (to each question) or diverse (a middle of each kind)."),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-tokens", min=1, help="Per answer. Default: the longest reference in tokens, and a quarter more."
    ),
]
ParallelOption = Annotated[int, typer.Option("--parallelism", min=1, help="Requests at once during an evaluation.")]
JudgeOption = Annotated[
    bool,
    typer.Option("--judge/--no-judge", help="Let the stack's judge rate the answers (key: NEMOSTACK_JUDGE_API_KEY)."),
]
ReuseOption = Annotated[
    bool,
    typer.Option("--reuse/--no-reuse", help="Take answers of earlier runs for items that are unchanged."),
]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", help="Namespace for the datasets, models and jobs that this command creates.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="For examples, training and resampling.")]


def _left(name: str) -> str:
    return f"Default: the Customizer's own ({SAMPLE_MODEL_SUITS[name]:g} for the sample model of the local stack)."


TrainRowsOption = Annotated[
    int | None,
    typer.Option(
        "--train-rows",
        min=1,
        help="Rows to train on, the first ones. Default: all "
        f"({SAMPLE_ROWS['train_rows']} of the sample dataset with the sample model).",
    ),
]
ValidationRowsOption = Annotated[
    int | None,
    typer.Option(
        "--validation-rows",
        min=1,
        help="Rows of the validation loss. Default: all "
        f"({SAMPLE_ROWS['validation_rows']} of the sample dataset with the sample model).",
    ),
]
EpochsOption = Annotated[int, typer.Option("--epochs", min=1, help="Training epochs.")]
BatchOption = Annotated[
    int | None, typer.Option("--batch-size", min=1, help=f"Training batch size. {_left('batch_size')}")
]
RateOption = Annotated[float | None, typer.Option("--learning-rate", help=f"Learning rate. {_left('learning_rate')}")]
RankOption = Annotated[int, typer.Option("--adapter-dim", min=1, max=256, help="Rank of the adapter.")]
AlphaOption = Annotated[
    int | None, typer.Option("--alpha", min=1, help=f"The adapter is scaled by alpha / rank. {_left('alpha')}")
]
RunsOption = Annotated[Path, typer.Option("--runs", envvar="NEMOSTACK_RUNS", help="Where the directories of runs are.")]
ExperimentOption = Annotated[str, typer.Option("--experiment", help="MLflow experiment to log to.")]
BenchmarksOption = Annotated[
    str,
    typer.Option(
        "--benchmarks",
        metavar="NAME,NAME",
        help="Also compare base and tuned model on these lm-eval tasks, such as gsm8k,mmlu,hellaswag,truthfulqa.",
    ),
]
BenchmarkItemsOption = Annotated[
    int, typer.Option("--benchmark-items", min=1, help="Questions per benchmark, the first ones; of mmlu, per subject.")
]
NewOption = Annotated[bool, typer.Option("--new", help="Start another run instead of resuming an unfinished one.")]
KeepOption = Annotated[bool, typer.Option("--keep-adapter", help="Leave the tuned model on the stack, served by NIM.")]
LoadOption = Annotated[
    Path | None,
    typer.Option(
        "--load-slo",
        exists=True,
        dir_okay=False,
        resolve_path=True,
        help="Also load-test NIM, base and tuned model mixed, against the objectives in this file.",
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        exists=True,
        dir_okay=False,
        resolve_path=True,
        help="What a model must show (YAML). Default: better in ROUGE-L, and no benchmark clearly forgotten.",
    ),
]
FormatOption = Annotated[str, typer.Option("--format", help="table or json.")]


@dataclass(frozen=True)
class DataColumns(Bundle):
    """How a dataset's columns are called, and where it goes."""

    prompt_column: PromptColumn = _DEFAULTS.prompt_column
    completion_column: CompletionColumn = _DEFAULTS.completion_column
    namespace: NamespaceOption = _DEFAULTS.namespace


@dataclass(frozen=True)
class DataOptions(Bundle):
    """The dataset, and what identifies a run of it."""

    dataset: DatasetOption = None
    prompt_column: PromptColumn = _DEFAULTS.prompt_column
    completion_column: CompletionColumn = _DEFAULTS.completion_column
    namespace: NamespaceOption = _DEFAULTS.namespace
    seed: SeedOption = 0

    def chosen(self) -> dict[str, Any]:
        """Without the dataset when none was given."""
        return {name: value for name, value in super().chosen().items() if (name, value) != ("dataset", None)}


@dataclass(frozen=True)
class EvaluationOptions(Bundle):
    """How models are evaluated."""

    limit: LimitOption = _DEFAULTS.limit
    shots: ShotsOption = _DEFAULTS.shots
    choose_shots: ChooseShotsOption = ""
    examples: ExamplesOption = _DEFAULTS.examples
    max_tokens: MaxTokensOption = None
    parallelism: ParallelOption = _DEFAULTS.parallelism
    judge: JudgeOption = True
    reuse: ReuseOption = True

    def chosen(self) -> dict[str, Any]:
        """All options by name, lists as such."""
        numbers = tuple(text.strip() for text in self.choose_shots.split(",") if text.strip())
        return {**super().chosen(), "choose_shots": numbers}


@dataclass(frozen=True)
class TrainingOptions(Bundle):
    """The LoRA job."""

    train_rows: TrainRowsOption = None
    validation_rows: ValidationRowsOption = None
    epochs: EpochsOption = _HYPER.epochs
    batch_size: BatchOption = _HYPER.batch_size
    learning_rate: RateOption = _HYPER.learning_rate
    adapter_dim: RankOption = _HYPER.adapter_dim
    alpha: AlphaOption = _HYPER.alpha

    def hyperparameters(self) -> Hyperparameters:
        """Raises BadInput."""
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise BadInput(f"--learning-rate {self.learning_rate:g}: expected a number above 0")
        return Hyperparameters(**{name: value for name, value in self.chosen().items() if not name.endswith("_rows")})

    def rows(self) -> dict[str, int | None]:
        """How many rows of the dataset are used."""
        return {"train_rows": self.train_rows, "validation_rows": self.validation_rows}


@dataclass(frozen=True)
class PipelineOptions(Bundle):
    """What the whole pipeline does besides evaluation and training."""

    experiment: ExperimentOption = _DEFAULTS.experiment
    benchmarks: BenchmarksOption = ""
    benchmark_items: BenchmarkItemsOption = _DEFAULTS.benchmark_items
    load_slo: LoadOption = None
    policy: PolicyOption = None
    keep_adapter: KeepOption = False

    def chosen(self) -> dict[str, Any]:
        """All options by name, lists as such."""
        names = tuple(name.strip() for name in self.benchmarks.split(",") if name.strip())
        return {**super().chosen(), "benchmarks": names}


@dataclass(frozen=True)
class DryRunOptions(Bundle):
    """Saying what would be done instead of doing it."""

    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the dataset, say what would be done, how long and at what cost.")
    ] = False
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", help="--dry-run: reckon at this row of the price table, such as aws/a10g-24gb."),
    ] = None


@dataclass(frozen=True)
class RunOptions(Bundle):
    """Where runs are, and whether an unfinished one goes on."""

    runs: RunsOption = Path("runs")
    new: NewOption = False
