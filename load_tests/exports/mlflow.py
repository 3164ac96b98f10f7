"""A finished load test in MLflow: its settings, numbers and files, linked to what is known there of its adapters.

The tag `nemostack.models` names the models with their versions (`legal/contracts@cust-1`). Where the pipeline logged an
evaluation of one of them in the same MLflow, the tag `nemostack.evaluation.<model>` holds the id of that run: from
how fast an adapter is, to how good it is. A tracking server that fails loses nothing and changes no verdict.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nemostack.tracking import Entry, TrackingServer

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND_TAG: Final = "nemostack.kind"
KIND: Final = "load-test"
MOST_LINKED: Final = 20
_FILES: Final = ("report.html", "report.json", "report.md", "report.csv", "run.json")
_TAG_CHARS: Final = 4000


def publish(folder: Path, *, uri: str, experiment: str) -> str:
    """Log the run in `folder` once, and return what to tell the user. Never raises for what MLflow does."""
    server = TrackingServer(uri.rstrip("/"), kind_tag=KIND_TAG)
    try:
        data = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        client = server.client()
        experiment_id = server.experiment_id(client, experiment)
        links = dict(evaluations(client, list(data["models"])[:MOST_LINKED]))
        entry = Entry(_params(data), list(_metrics(data)), {**_tags(data), **links})
        run_id = server.write(client, experiment_id, run=data["id"], kind=KIND, name=data["id"], entry=entry)
        for name in _FILES:
            client.log_artifact(run_id, str(folder / name))
    except Exception as error:  # noqa: BLE001 - results must survive whatever a tracking server does
        return f"notice: {server.problem('logging to', error)}; the report in {folder} is complete"
    linked = f", linked to {len(links)} evaluation{'s' if len(links) != 1 else ''}" if links else ""
    return f"MLflow: {server.url(experiment_id, run_id)}{linked}"


def evaluations(client: "MlflowClient", models: list[str]) -> Iterator[tuple[str, str]]:
    """Yield a tag for each model of which some run in this MLflow says that it evaluated it: the newest."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    for model in models:
        if "'" in model:
            continue  # cannot be asked for
        query = f"params.model = '{model}' AND params.evaluation_job != ''"
        for run in client.search_runs(experiments, query, max_results=1, order_by=["attributes.start_time DESC"]):
            yield f"nemostack.evaluation.{_version(model)}", str(run.info.run_id)


def _version(model: str) -> str:
    """Return the model's id as the name of a tag: MLflow takes no `@` in one."""
    return "".join(c if c.isalnum() or c in "-_./ " else "-" for c in model)[:200]


def _tags(data: dict[str, Any]) -> dict[str, str]:
    return {
        "nemostack.verdict": data["verdict"],
        "nemostack.base_model": data["run"]["base_model"],
        "nemostack.models": ", ".join(data["models"])[:_TAG_CHARS],
        **({"nemostack.worst_adapter": worst["model"]} if (worst := (data["adapters"] or {}).get("worst")) else {}),
    }


def _params(data: dict[str, Any]) -> dict[str, object]:
    spec = data["run"]["spec"]
    plain = {key: value for key, value in spec.items() if isinstance(value, str | int | float | bool)}
    return {**plain, "mix": spec["mix"]["kind"], "models": len(data["models"]), "workers": data["run"]["workers"]}


def _metrics(data: dict[str, Any]) -> Iterator[tuple[str, int, float]]:
    whole = data["overall"]
    for name, value in whole["scalars"].items():
        if value is not None:
            yield name, 0, float(value)
    for name, spread in whole["latencies"].items():
        for stat, value in spread["percentiles"].items():
            if value is not None:
                yield f"{name}_{stat}".replace(".", "_"), 0, float(value)
    for name, ratio in ((data["adapters"] or {}).get("compared") or {}).items():
        if ratio["ratio"] is not None:
            yield "ratio " + name.replace(",", ""), 0, float(ratio["ratio"])
