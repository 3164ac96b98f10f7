"""An evaluation of the microservices in the terms of the NeMo Platform, and its scores back under the old names.

The platform's evaluator has the same templates and most of the same metrics under other names. It has no METEOR, no
BERTScore and no benchmarks: metrics without a counterpart are named and left out, other kinds of evaluation are refused
with BadInput.
"""

from dataclasses import dataclass
from typing import Any

from nemostack.errors import BadInput

_NUMBER = {"description": "Continuous numeric metric value.", "title": "ContinuousScore", "type": "number"}
_WIDE = 1_000_000  # bounds of a judge's score where the old definition has none: nothing but the schema reads them
_HF_DATASETS = "hf://datasets/"
_OUTPUTS: dict[str, tuple[str, ...]] = {
    "rouge": ("rouge_1_score", "rouge_2_score", "rouge_3_score", "rouge_L_score"),
    "bleu": ("sentence",),
    "f1": ("f1",),
    "exact-match": ("exact-match",),
    "string-check": ("string-check",),
    "number-check": ("number-check",),
}
ADDRESSES = {
    "f1.f1": "f1.f1_score",
    "exact-match.exact-match": "em.em_score",
    "string-check.string-check": "string-check.string-check",
    "number-check.number-check": "number-check.number-check",
}
"""What the platform calls a score -> what the microservices call it, where they differ; a judge's keep their name."""


@dataclass(frozen=True)
class Translated:
    """The spec of a job, and what of the evaluation could not be brought over, each with the reason."""

    spec: dict[str, Any]
    left_out: list[str]


def translate(
    config: dict[str, Any],
    *,
    task: str,
    url: str,
    model: str,
    judge_secret: str | None = None,
    user_secret: str | None = None,
) -> Translated:
    """Make the spec of a job of one task, which asks `model` at `url`. BadInput for what has no counterpart.

    `user_secret` names the secret with the token by which the job asks the model, where the platform has users.
    """
    if config.get("type") != "custom":
        raise BadInput(
            f"the evaluation is of the type {config.get('type')!r}, and the NeMo Platform has no benchmarks: use a "
            "dataset of your own, or a stack with product: microservices"
        )
    body = config["tasks"][task]
    template = dict(body["params"]["template"])
    limit = (body.get("dataset") or {}).get("limit")
    inference = {key: template.pop(key) for key in ("max_tokens", "temperature", "top_p", "stop") if key in template}
    parallelism = (config.get("params") or {}).get("parallelism")
    params: dict[str, Any] = {"inference": inference}
    params |= {"limit_samples": limit} if limit else {}
    params |= {"parallelism": parallelism} if parallelism else {}
    bundles, left_out = metrics_of(body["metrics"], judge_secret=judge_secret)
    if not bundles:
        raise BadInput(f"no metric of the evaluation is known to the NeMo Platform: {'; '.join(left_out)}")
    spec = {
        "dataset": fileset_of(body["dataset"]["files_url"]),
        "metrics": bundles,
        "params": params,
        "target": {
            "url": url,
            "name": model,
            "format": "openai",
            **({"api_key_secret": user_secret} if user_secret else {}),
        },
        "prompt_template": template,
    }
    return Translated(spec, left_out)


def fileset_of(files_url: str) -> str:
    """Name a file as the platform does, `workspace/fileset#path`, whichever line's address is given."""
    if not files_url.startswith(_HF_DATASETS):
        return files_url
    namespace, name, *path = files_url.removeprefix(_HF_DATASETS).split("/")
    return f"{namespace}/{name}#{'/'.join(path)}" if path else f"{namespace}/{name}"


def metrics_of(asked: dict[str, Any], *, judge_secret: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Metrics as the platform takes them, and those that it has no counterpart for, with the reason."""
    bundles, left_out = [], []
    for name, metric in asked.items():
        try:
            bundles.append(_bundle(metric["type"], metric.get("params") or {}, judge_secret))
        except BadInput as error:
            left_out.append(f"{name}: {error}")
    return bundles, left_out


def _bundle(kind: str, params: dict[str, Any], judge_secret: str | None) -> dict[str, Any]:
    match kind:
        case "rouge" | "f1":
            metric = {"type": kind, "reference": params["ground_truth"]}
        case "em":
            metric = {"type": "exact-match", "reference": params["ground_truth"]}
        case "bleu":
            metric = {"type": kind, "references": list(params["references"])}
        case "string-check":
            left, operation, right = params["check"]
            metric = {"type": kind, "operation": operation, "left_template": left, "right_template": right}
        case "number-check":
            left, operation, right = params["check"][:3]
            metric = {"type": kind, "operation": operation, "left_template": left, "right_template": right}
            metric |= {"epsilon": params["epsilon"]} if params.get("epsilon") is not None else {}
        case "llm-judge":
            return _judge(params, judge_secret)
        case _:
            raise BadInput(f"the NeMo Platform's evaluator has no metric {kind}")
    return _inline(metric, [(name, None) for name in _OUTPUTS[str(metric["type"])]])


def _judge(params: dict[str, Any], secret: str | None) -> dict[str, Any]:
    endpoint = params["model"]["api_endpoint"]
    model = {"url": endpoint["url"], "name": endpoint["model_id"], "format": "openai"}
    if endpoint.get("api_key") and secret is None:
        raise BadInput("its judge wants a key, and there is no secret of the platform that holds it")
    if endpoint.get("api_key"):
        model["api_key_secret"] = secret
    metric = {
        "type": "llm-judge",
        "model": model,
        "scores": [_score(name, score) for name, score in params["scores"].items()],
        "prompt_template": params["template"],
        "ignore_request_failure": True,  # an answer that cannot be rated is missing, and costs no other score
    }
    bundle = _inline(metric, [(str(score["name"]), score.get("description")) for score in metric["scores"]])
    # The platform's evaluator reads a key from a variable with the secret's own name, as far as variables allow.
    return bundle | ({"secrets": {secret.replace("-", "_"): secret}} if secret and "api_key_secret" in model else {})


def _score(name: str, score: dict[str, Any]) -> dict[str, Any]:
    parser = score.get("parser") or {"type": "json", "json_path": name}
    if parser["type"] == "regex":
        parser = {"type": "regex", "pattern": parser["pattern"], "method": "search"}
    bounds = {"minimum": score.get("minimum", -_WIDE), "maximum": score.get("maximum", _WIDE)}
    if score.get("rubric"):
        raise BadInput(f"the score {name} of its judge has a rubric, which is not brought over")
    return {"name": name, "parser": parser, **bounds}


def _inline(metric: dict[str, Any], outputs: list[tuple[str, str | None]]) -> dict[str, Any]:
    """Wrap a metric as a job takes it: described by its settings, without any code of ours."""
    return {
        "bundle_kind": "metric-bundle",
        "bundle_format_version": "v1",
        "metric_type": metric["type"],
        "outputs": [{"name": name, "description": about, "value_json_schema": _NUMBER} for name, about in outputs],
        "payload": {"kind": "inline", "metric": metric},
    }


def address(metric: str, score: str) -> str:
    """Name of a score as the microservices have it, `metric.score`."""
    kind = metric.rpartition("/")[2]
    if kind.startswith("llm-judge"):
        return f"judge.{score}"
    return ADDRESSES.get(f"{kind}.{score}", f"{kind}.{score}")
