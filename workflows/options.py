"""Options that several commands share, declared once and spread into each command's signature.

A command that takes `target: TargetOptions` is decorated with `with_target`; on the command line that one parameter
becomes --stack, --outputs and one option per key of the stack outputs.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.outputs import StackOutputs
from workflows.target import ENV_OUTPUTS, FLAG_KEYS, resolve

_PANEL = "Which services"


@dataclass(frozen=True)
class TargetOptions:
    """What the user said about the services."""

    stack: str
    outputs: Path | None
    flags: dict[str, str | None]

    def resolve(self) -> StackOutputs:
        """TargetError when that does not add up to a stack."""
        return resolve(self.stack, self.outputs, self.flags)


def with_target(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `target` of `command` by its options."""
    shared: dict[str, Any] = {
        "stack": Annotated[str, typer.Option("--stack", help="Pulumi stack to work on.", rich_help_panel=_PANEL)],
        "outputs": Annotated[
            Path | None,
            typer.Option(
                "--outputs",
                help=f"JSON file with the stack outputs, instead of asking Pulumi. Also: {ENV_OUTPUTS}.",
                rich_help_panel=_PANEL,
            ),
        ],
    }
    for key in FLAG_KEYS:
        about = StackOutputs.model_fields[key].description
        option = typer.Option(f"--{key.replace('_', '-')}", help=f"{about}.", rich_help_panel=_PANEL)
        shared[key] = Annotated[str | None, option]
    defaults: dict[str, Any] = {"stack": "local"}

    @functools.wraps(command)
    def spread(**values: Any) -> None:
        flags = {key: values.pop(key) for key in FLAG_KEYS}
        target = TargetOptions(values.pop("stack"), values.pop("outputs"), flags)
        command(target=target, **values)

    own = inspect.signature(command)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=keyword) for name, p in own.parameters.items() if name != "target"]
    parameters += [
        inspect.Parameter(name, keyword, default=defaults.get(name), annotation=annotation)
        for name, annotation in shared.items()
    ]
    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread


_DEFAULT = "Folder with train.jsonl, validation.jsonl and test.jsonl."
DatasetOption = Annotated[Path | None, typer.Option("--dataset", help=f"{_DEFAULT} Default: examples/legal.")]
PromptColumn = Annotated[str, typer.Option("--prompt-column", help="Key of the question in each row.")]
CompletionColumn = Annotated[str, typer.Option("--completion-column", help="Key of the answer in each row.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="Test items per evaluation, the first ones.")]
ShotsOption = Annotated[int, typer.Option("--shots", min=0, max=64, help="Examples shown in the prompt.")]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Per answer. Default: enough for the longest reference.")
]
ParallelOption = Annotated[int, typer.Option("--parallelism", min=1, help="Requests at once during an evaluation.")]
JudgeOption = Annotated[
    bool,
    typer.Option("--judge/--no-judge", help="Let the stack's judge rate the answers (key: NEMOSTACK_JUDGE_API_KEY)."),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="Of datasets, models and jobs on the stack.")]
SeedOption = Annotated[int, typer.Option("--seed", help="For examples, training and resampling.")]
EpochsOption = Annotated[int, typer.Option("--epochs", min=1, help="Of the LoRA job.")]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, help="Of the LoRA job.")]
RateOption = Annotated[float, typer.Option("--learning-rate", help="Of the LoRA job.")]
RankOption = Annotated[int, typer.Option("--adapter-dim", min=1, help="Rank of the adapter.")]
AlphaOption = Annotated[int, typer.Option("--alpha", min=1, help="The adapter is scaled by alpha / rank.")]
RunsOption = Annotated[Path, typer.Option("--runs", envvar="NEMOSTACK_RUNS", help="Where the directories of runs are.")]
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
