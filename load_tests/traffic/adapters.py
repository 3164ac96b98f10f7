"""The models of a run, the base model and its LoRA adapters, and how requests are spread over them.

An adapter is just another model id of the server. Ids come from NIM's `/v1/models`; one that is asked for but not
listed is refused before the run, with the list of those that are. The choice is a random process of its own, with its
own seed, so that changing the arrival process does not change which model is asked.

Servers tell in two ways whose adapter a model is:

| server                    | row of the base model        | row of an adapter                      |
|---------------------------|------------------------------|----------------------------------------|
| vLLM from 0.5.4, embedded | `root`: a path or a hub id   | `parent`: a served name of the model   |
| NIM 1.x, older vLLM       | `root`: a served name        | `parent`: null, `root`: the same name  |

A model may have several served names. They share their `root`, and adapters name only the first of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from nemostack.clients.tls import shared_context
from nemostack.errors import BadInput, ServiceError, Unreachable, no_answer_hint

_NO_NIM_HINT = "is NIM up, and is this its address?"
AdapterChoice = Literal["auto", "all"] | list[str]
"""auto: those that the server lists, which may be none; all: the same, but none is refused; or ids."""


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The base model and its adapters, sorted by id. `others`: served too, but not known to be adapters of it."""

    base: str
    adapters: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Which of them are loaded."""
        count = len(self.adapters)
        return f"base model {self.base} and {count} adapter{'' if count == 1 else 's'}"


class ModelList:
    """Rows of `/v1/models` by id, and what they tell of one another."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.rows = {str(row["id"]): row for row in rows}
        # vLLM writes max_model_len for base models only; where every row has it, or none, it tells nothing
        lengths = {model: row.get("max_model_len") for model, row in self.rows.items()}
        self._has_length = {model for model, length in lengths.items() if length} if None in lengths.values() else set()

    def __str__(self) -> str:
        return ", ".join(sorted(self.rows)) or "none"

    def owner(self, model: str) -> str | None:
        """Return the served name of the base model whose adapter `model` is; None for a base model."""
        row = self.rows[model]
        if row.get("parent"):
            return str(row["parent"]) if row["parent"] != model else None
        root = row.get("root")
        return root if root in self.rows and root != model and model not in self._has_length else None

    def names(self, base: str) -> list[str]:
        """Return all served names of a base model, in the server's order."""
        root = self.rows[base].get("root")
        return [
            model
            for model, row in self.rows.items()
            if model == base or (root and row.get("root") == root and self.owner(model) is None)
        ]

    def base_models(self) -> list[str]:
        """Return one name for each base model: the first that is served."""
        bases = [model for model in self.rows if self.owner(model) is None]
        return [model for model in bases if self.names(model)[0] == model]

    def adapters(self, base: str) -> list[str]:
        """Return the adapters of a base model, sorted."""
        names = self.names(base)
        return sorted(model for model in self.rows if model not in names and self.owner(model) in names)


def discover(
    nim_url: str,
    *,
    base_model: str | None,
    requested: AdapterChoice,
    api_key: str | None = None,
    transport: httpx.BaseTransport | None = None,
) -> ServedModels:
    """Read `/v1/models` and pick the base model and the adapters that are `requested`.

    Raises Unreachable or ServiceError when the server does not answer with a model list, BadInput when the base model
    is ambiguous or something requested is not served.
    """
    url = f"{nim_url.rstrip('/')}/v1/models"
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with httpx.Client(timeout=10, transport=transport, verify=shared_context(httpx)) as http:
            reply = http.get(url, headers=headers)
            reply.raise_for_status()
            served = ModelList(reply.json()["data"])
    except httpx.TransportError as error:
        raise Unreachable(f"GET {url} failed: {error}", hint=no_answer_hint(str(error), _NO_NIM_HINT)) from error
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise ServiceError(f"GET {url} failed: {error}", hint=_NO_NIM_HINT) from error
    if base_model is None:
        bases = served.base_models()
        if len(bases) != 1:
            raise BadInput(f"{url} lists {len(bases)} base models ({served}); name one with --base-model")
        base_model = bases[0]
    elif base_model not in served.rows:
        raise BadInput(f"base model {base_model} is not served by {url}; served: {served}")
    if isinstance(requested, list):
        if missing := [model for model in requested if model not in served.rows]:
            raise BadInput(f"adapter {', '.join(missing)} is not served by {url}; served: {served}")
        return ServedModels(base_model, tuple(sorted(set(requested) - {base_model})))
    adapters = served.adapters(base_model)
    others = sorted(set(served.rows) - {*served.names(base_model), *adapters})
    models = ServedModels(base_model, tuple(adapters), tuple(others))
    if requested == "all" and not adapters:
        raise BadInput(f"--adapters all, but {url} lists no adapter of {base_model}: {no_adapters_hint(models)}")
    return models


def no_adapters_hint(models: ServedModels) -> str:
    """Say how to get adapters under load when the server lists none of the base model."""
    if models.others:
        listed = ",".join(models.others)
        return f"no model names {models.base} as its parent or root; if these are its adapters, use --adapters {listed}"
    return "NIM serves no adapter: `nemostack customize` trains one and leaves it there"
