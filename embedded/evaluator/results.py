"""Results of a job: the document, the zip of results and samples, and their copy in the Data Store.

The zip holds `results.json` and for each task `<task>/samples.jsonl`, a line an item:
`{"index", "item": row, "sample": {"output_text", "latency_s", "usage"}, "scores": {"<metric>.<score>": 0.5 or null}}`.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from embedded.evaluator.custom import Outcome
from nemostack.clients.data_store import accepting_empty_commit_url

RESULTS_NAMESPACE = "evaluation-results"


def body(outcomes: dict[str, Outcome], groups: dict[str, list[str]]) -> dict[str, Any]:
    """`tasks` and `groups` of a result document."""
    tree: dict[str, Any] = {
        name: {"metrics": {}, "groups": {task: {"metrics": outcomes[task].metrics} for task in tasks}}
        for name, tasks in groups.items()
    }
    for name, outcome in outcomes.items():
        if outcome.groups:
            tree[name] = {"metrics": outcome.metrics, "groups": outcome.groups} | _beside(outcome)
    tasks = {name: {"metrics": outcome.metrics} | _beside(outcome) for name, outcome in outcomes.items()}
    return {"tasks": tasks, "groups": tree}


def _beside(outcome: Outcome) -> dict[str, Any]:
    """What a reader of the scores must know: outputs cut at their limit of tokens, questions that are substitutes."""
    cut = {"outputs_cut_by_length": outcome.cut_items} if outcome.cut_items else {}
    return cut | ({"data": outcome.data} if outcome.data else {})


def _sample_files(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("*/samples.jsonl")))


def has_files(folder: Path) -> bool:
    """Whether there is anything to download."""
    return any(True for _ in _sample_files(folder))


def archive(folder: Path, result: dict[str, Any]) -> bytes:
    """Zip the job whose files are in `folder`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("results.json", json.dumps(result, indent=1, ensure_ascii=False))
        for path in _sample_files(folder):
            file.write(path, f"{path.parent.name}/{path.name}")
    return buffer.getvalue()


def publish(folder: Path, result: dict[str, Any], job_id: str, data_store_url: str) -> str:
    """Copy results and samples to the Data Store; returns their files_url. Raises what the hub client raises."""
    api = HfApi(endpoint=f"{data_store_url}/v1/hf", token=False)
    repo = f"{RESULTS_NAMESPACE}/{job_id}"
    api.create_repo(repo, repo_type="dataset", exist_ok=True)
    (folder / "results.json").write_text(json.dumps(result, indent=1, ensure_ascii=False))
    with accepting_empty_commit_url():
        api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=["results.json", "*/samples.jsonl"],
            commit_message=f"Results of {job_id}",
        )
    return f"hf://datasets/{repo}"
