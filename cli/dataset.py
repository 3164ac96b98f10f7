"""`nemostack dataset`: data is checked, converted, split, profiled and uploaded, before a GPU is spent on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options as o
from nemostack.errors import BadInput
from workflows.settings import Settings

if TYPE_CHECKING:
    from workflows.data.check import DatasetReport
    from workflows.data.sources import Source

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Check, convert, split, profile and upload datasets."
)
_DEFAULTS = Settings()
_SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A file (.jsonl, .json, .csv, .tsv, .parquet), a folder with one for each of train, validation and test, "
        "or hf://datasets/org/name of the Hugging Face Hub.",
    ),
]
_OutOption = Annotated[Path, typer.Option("--out", help="Folder to write into.", file_okay=False)]
_ForceOption = Annotated[bool, typer.Option("--force", help="Replace data of another origin in --out.")]
_NearOption = Annotated[
    bool, typer.Option("--near/--no-near", help="Look for near-duplicates too, by MinHash; costs time.")
]


@dataclass(frozen=True)
class ReadingOptions(o.Bundle):
    """How a source is read."""

    prompt_column: o.PromptColumn = _DEFAULTS.prompt_column
    completion_column: o.CompletionColumn = _DEFAULTS.completion_column
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", help="Of text files that are not UTF-8 and have no byte order mark, such as cp949."),
    ] = None
    config_name: Annotated[
        str | None, typer.Option("--config-name", help="Configuration of a Hub dataset that has several.")
    ] = None
    hub_split: Annotated[str | None, typer.Option("--hub-split", help="Only this split of a Hub dataset.")] = None

    def read(self, source: str, *, group: str | None = None) -> "Source":
        """Read the source. BadInput."""
        from workflows.data.encodings import known_encoding
        from workflows.data.hub import Wanted
        from workflows.data.rows import Columns
        from workflows.data.sources import Reading, read_source

        if self.encoding is not None and known_encoding(self.encoding) is None:
            raise BadInput(
                f"--encoding {self.encoding}: not known; try utf-8, utf-16, cp949, shift_jis, gb18030, cp1252"
            )
        reading = Reading(
            columns=Columns(self.prompt_column, self.completion_column),
            encoding=self.encoding,
            group=group,
            of_hub=Wanted(self.config_name, self.hub_split),
        )
        return read_source(source, reading)


@dataclass(frozen=True)
class TokenizerOptions(o.Bundle):
    """Whether the server's tokenizer is asked."""

    tokens: Annotated[
        bool,
        typer.Option("--tokens", help="Count tokens by the tokenizer of the stack's NIM, against the model's context."),
    ] = False


@app.command()
@o.spread
def check(
    source: _SourceArgument,
    *,
    reading: ReadingOptions,
    near: _NearOption = True,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    output: o.FormatOption = "table",
    tokenizer: TokenizerOptions,
    target: o.TargetOptions,
) -> None:
    """Look for everything that would spoil training or scores. Exit code 2 when something would."""
    from cli import render
    from nemostack.console import stdout

    require_format(output)
    report = _report(reading.read(source), tokenizer, target, near=near)
    if output == "json":
        stdout().file.write(report.model_dump_json(indent=2) + "\n")
    else:
        render.findings(stdout(), report.findings, about="Split")
    failing = [finding for finding in report.findings if finding.level == "bad" or (strict and finding.level == "warn")]
    if failing:
        raise BadInput(
            f"{source}: {len(failing)} of {len(report.findings)} checks failed; what to do is said with each"
        )


@app.command()
@o.spread
def convert(
    source: _SourceArgument,
    *,
    out: _OutOption,
    reading: ReadingOptions,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep later copies of a row in the same split.")
    ] = False,
    force: _ForceOption = False,
) -> None:
    """Write a source as JSON Lines for runs: plain UTF-8, without unusable rows, copies, and questions of the test.

    What was left out is listed with file, line and reason in dropped.jsonl.
    """
    from workflows.data.convert import clean
    from workflows.data.written import Origin, require_free, write_dataset

    require_free(out, force=force)
    found = reading.read(source)
    kept = clean(found, keep_duplicates=keep_duplicates)
    written = write_dataset(
        out,
        kept.rows,
        kept.dropped,
        Origin(
            source=source,
            revision=found.revision,
            command="convert",
            choices={"keep_duplicates": keep_duplicates, **reading.chosen()},
        ),
        force=force,
    )
    _say_written(out, written.rows, written.dropped)


@app.command()
@o.spread
def split(
    source: _SourceArgument,
    *,
    out: _OutOption,
    validation: Annotated[
        float, typer.Option("--validation", min=0, help="Validation rows: below 1 a fraction, else their number.")
    ] = 0.1,
    test: Annotated[float, typer.Option("--test", min=0, help="Test rows, likewise.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another split.")] = 0,
    group: Annotated[
        str | None,
        typer.Option("--group", help="Column (or path) whose equal values stay together, such as a document's id."),
    ] = None,
    near: _NearOption = True,
    reading: ReadingOptions,
    force: _ForceOption = False,
) -> None:
    """Divide a source into train, validation and test, the same for the same seed.

    The same questions, near-duplicates and rows of one group stay on one side. Splits that the source has are put
    together first. Rows that cannot be used and copies are left out, and listed in dropped.jsonl.
    """
    from workflows.data.convert import clean
    from workflows.data.sources import joined
    from workflows.data.split import Shares, split_rows
    from workflows.data.written import Origin, require_free, write_dataset

    require_free(out, force=force)
    found = joined(reading.read(source, group=group))
    kept = clean(found)
    [rows] = kept.splits.values()
    splits = split_rows(rows, Shares(validation, test), seed=seed, near=near)
    choices = {
        "validation": validation,
        "test": test,
        "seed": seed,
        "group": group,
        "near": near,
        **reading.chosen(),
    }
    written = write_dataset(
        out,
        {name: [placed.row for placed in part] for name, part in splits.rows.items()},
        kept.dropped,
        Origin(source=source, revision=found.revision, command="split", choices=choices),
        force=force,
    )
    _say_written(out, written.rows, written.dropped)
    typer.echo(f"{splits.groups} groups of rows that belong together, the largest of {splits.largest}; seed {seed}")


@app.command()
@o.spread
def profile(
    source: _SourceArgument,
    *,
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.", dir_okay=False)] = Path("profile.html"),
    reading: ReadingOptions,
    near: _NearOption = True,
    tokenizer: TokenizerOptions,
    target: o.TargetOptions,
) -> None:
    """Write one offline page about a dataset: findings, distributions of lengths, kinds of questions, examples."""
    from nemostack.files import write_atomically
    from workflows.data.profile import draw_profile

    found = reading.read(source)
    report = _report(found, tokenizer, target, near=near)
    try:
        write_atomically(out, draw_profile(found, report))
    except OSError as error:
        raise BadInput(f"writing {out} failed: {error.strerror or error}; name another file with --out") from error
    typer.echo(f"Profile: {out}")


@app.command()
@o.spread
def upload(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with a file for each of train, validation and test.")
    ],
    *,
    name: Annotated[str, typer.Option("--name", help="Name of the dataset; each content becomes a version of it.")],
    data: o.DataColumns,
    target: o.TargetOptions,
) -> None:
    """Put a dataset into the stores of a stack, by content: the same content is one version."""
    import re

    from nemostack.clients import Clients
    from workflows.data import dataset
    from workflows.data.registry import upload as upload_dataset

    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise BadInput(
            f"--name {name}: expected small letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
        )
    read = dataset.load(Settings(kind="customize", dataset=folder, **data.chosen()))
    with Clients(target.resolve()) as clients:
        registered = upload_dataset(read, clients, namespace=data.namespace, name=name)
    state = "uploaded" if registered.new else "was there already"
    typer.echo(f"{registered.dataset}: version {registered.version} {state}, {registered.files_url}")
    typer.echo(f"Content hash: {registered.sha256}")


def require_format(output: str) -> None:
    """BadInput for a format that is not offered."""
    if output not in {"table", "json"}:
        raise BadInput(f"--format {output}: choose table or json")


def _report(found: "Source", options: TokenizerOptions, target: o.TargetOptions, *, near: bool) -> "DatasetReport":
    """Check, with the tokenizer of the stack where that is asked for."""
    from functools import partial

    from nemostack.clients import Clients
    from workflows.data.check import Tokenizer
    from workflows.data.check import check as check_source

    if not options.tokens:
        return check_source(found, near=near)
    outputs = target.resolve()
    model = outputs.base_model
    with Clients(outputs) as clients:
        tokenizer = Tokenizer(model=model, context=clients.nim.context_length(model))
        return check_source(found, tokenizer=tokenizer, count=partial(clients.nim.count_chat_tokens, model), near=near)


def _say_written(out: Path, rows: dict[str, int], dropped: dict[str, int]) -> None:
    typer.echo(f"{out}: {', '.join(f'{split} {count}' for split, count in rows.items())} rows")
    for reason, count in dropped.items():
        typer.echo(f"left out {count}: {reason}")
    if dropped:
        typer.echo(f"Lines: {out / 'dropped.jsonl'}")
