"""The address at which a model is asked: its own endpoint, the Entity Store's word for it, or the NIM."""

import httpx

from embedded.common.names import Ref
from embedded.evaluator.endpoint import Endpoint
from embedded.evaluator.errors import DataError
from embedded.evaluator.request_models import ApiEndpoint, Model
from embedded.evaluator.settings import Settings
from nemostack.clients.tls import shared_context


def find_model(model: str | Model | None, settings: Settings) -> Endpoint:
    """Endpoint of a target's or judge's model; None is the configured judge."""
    if model is None:
        return Endpoint(f"{settings.judge_url}/v1", settings.judge_model)
    if isinstance(model, Model):
        if model.api_endpoint is not None:
            return Endpoint.from_api(model.api_endpoint)
        if not model.name:
            raise DataError("model: give api_endpoint, or the name of a served model")
        model = (
            model.name if "/" in model.name else f"{(model.model_extra or {}).get('namespace', 'default')}/{model.name}"
        )
    return _registered(model, settings) or Endpoint(f"{settings.nim_url}/v1", model)


def _registered(model_id: str, settings: Settings) -> Endpoint | None:
    """Look `model_id` up in the Entity Store; a silent store is no obstacle to the NIM."""
    try:
        url = f"{settings.entity_store_url}/v1/models/{Ref.parse(model_id)}"
        answer = httpx.get(url, timeout=10, verify=shared_context(httpx))
        if answer.status_code == 200 and (api := answer.json().get("api_endpoint")):
            return Endpoint.from_api(ApiEndpoint.model_validate(api))
    except (httpx.HTTPError, ValueError):
        pass
    return None
