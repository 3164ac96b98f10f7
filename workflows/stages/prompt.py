"""The in-context prompt: which examples, and how many, chosen on the validation split and never on the test.

Each number that `--choose-shots` names is evaluated on the validation split by a stage of its own; the best mean of the
primary metric wins, of equals the fewest. The chosen prompt is written to prompt.json and registered on the stack,
in the Entity Store as a model with examples, on the NeMo Platform as a prompt. Refuses nothing; what had to be
left out for the context is counted.
"""

import json
from functools import partial

from nemostack.files import write_atomically
from workflows.data import dataset, in_context
from workflows.data.rows import Row, json_lines
from workflows.data.selection import Budget, Selected, pool_of, select
from workflows.engine.stage import Context, Stage
from workflows.results.metrics import BY_KEY, PRIMARY
from workflows.results.prompted import Prompted, Tried
from workflows.stages.evaluation import evaluate_items
from workflows.stages.upload import Uploaded

FILE = "prompt.json"


def trying(shots: int) -> Stage:
    """Make the stage that tries one number of examples."""
    return Stage(
        name=f"prompt_{shots}",
        title=f"Validation with {shots} example{'s' if shots != 1 else ''}",
        run=lambda context: _try(context, shots),
        gives=Tried,
        needs=("dataset",),
        summary=lambda tried: f"{BY_KEY[PRIMARY].label} {tried.score.mean:.3f} on {tried.score.n} items",
    )


def _try(context: Context, shots: int) -> Tried:
    uploaded, data = context.given("dataset", Uploaded), dataset.load(context.settings)
    rows = data.validation[: context.settings.limit]
    selected = _select(context, data, rows, shots)
    url = upload_items(context, uploaded, f"validation_{shots}", rows, selected)
    answered = evaluate_items(
        context,
        f"prompt_{shots}",
        context.outputs.base_model,
        url,
        chats=True,
        settings=context.settings.model_copy(update={"judge": False}),
        items=len(rows),
    )
    return Tried(shots=shots, job_id=answered.job_id, score=answered.scores[PRIMARY])


def _run(context: Context) -> Prompted:
    settings, uploaded = context.settings, context.given("dataset", Uploaded)
    data = dataset.load(settings)
    tried = [context.given(f"prompt_{shots}", Tried) for shots in settings.choose_shots]
    shots = max(tried, key=lambda one: (one.score.mean, -one.shots)).shots if tried else settings.shots
    rows = data.test[: settings.limit]
    selected = _select(context, data, rows, shots)
    for_each = selected.shared is None or uploaded.chats
    url = upload_items(context, uploaded, "in_context", rows, selected) if for_each else None
    model = f"{uploaded.repo}-prompt"
    prompted = Prompted(
        method=settings.examples,
        by=selected.by,
        shots=max(map(len, selected.examples), default=0),
        cut=selected.cut,
        tried=tried,
        shared=None if selected.shared is None else [row.messages for row in selected.shared],
        items_url=url,
        model=model,
    )
    if selected.cut:
        context.progress.line(f"  {selected.cut} question(s) got fewer than {shots} examples: the context has no room")
    write_atomically(context.run.path / FILE, prompted.model_dump_json(indent=2) + "\n")
    context.note(model=model)
    _register(context, prompted)
    return prompted


def _register(context: Context, prompted: Prompted) -> None:
    shown = "" if prompted.shared is None else json.dumps(prompted.shared, ensure_ascii=False)
    context.clients.models.register_prompt(
        prompted.model,
        base_model=context.outputs.base_model,
        examples=shown,
        fields={
            "nemostack_run_id": context.run_id,
            "nemostack_examples": prompted.method,
            "nemostack_similarity": prompted.by,
            "nemostack_shots": prompted.shots,
            "nemostack_items": prompted.items_url or "",
        },
    )


def upload_items(context: Context, uploaded: Uploaded, name: str, rows: tuple[Row, ...], selected: Selected) -> str:
    """Upload questions with the examples of each before it; returns where they are."""
    items = [
        {"prompt": row.prompt, "completion": row.completion, "messages": in_context.shown_before(examples, row)}
        for row, examples in zip(rows, selected.examples, strict=True)
    ]
    message = f"nemostack run {context.run_id}: {name}"
    namespace, _, dataset_name = uploaded.repo.partition("/")
    files = {f"testing/{name}.jsonl": json_lines(items)}
    context.clients.datasets.add(namespace, dataset_name, files, message=message)
    return f"{uploaded.test_url.rpartition('/')[0]}/{name}.jsonl"


def _select(context: Context, data: dataset.Dataset, rows: tuple[Row, ...], shots: int) -> Selected:
    settings, nim, model = context.settings, context.clients.nim, context.outputs.base_model
    length = nim.context_length(model)
    room = None if length is None else length - context.given("dataset", Uploaded).max_tokens
    return select(
        pool_of(data.train, data.validation, data.test),
        rows,
        settings.examples,
        shots,
        seed=settings.seed,
        embed=partial(nim.embed, model),
        embedding=f"embeddings of {model}",
        budget=Budget(room, partial(nim.count_chat_tokens, model)),
    )


def _summary(prompted: Prompted) -> str:
    by = "" if prompted.method == "random" else f" by {prompted.by}"
    chosen = f", of {', '.join(str(one.shots) for one in prompted.tried)}" if prompted.tried else ""
    return f"{prompted.shots} {prompted.method} example(s){by}{chosen}"


def _gone(context: Context) -> str | None:
    model = context.given("prompt", Prompted).model
    return None if context.clients.models.has_prompt(model) else f"model {model} is not stored any more"


def prompt_stage(numbers: tuple[int, ...]) -> Stage:
    """Make the stage that chooses, after those that tried."""
    return Stage(
        name="prompt",
        title="In-context prompt",
        run=_run,
        gives=Prompted,
        needs=("dataset", *(f"prompt_{shots}" for shots in numbers)),
        skip=lambda context: None if context.settings.shows_examples else "no examples asked for (--shots 0)",
        gone=_gone,
        summary=_summary,
    )
