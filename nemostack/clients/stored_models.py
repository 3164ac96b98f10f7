"""Tuned models and prompts of the microservices: entities of the Entity Store, with files in the Data Store."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemostack.clients import Clients


class StoredModels:
    """Both are models of the Entity Store, a prompt one with examples and without files."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients

    def has_model(self, model: str) -> bool:
        return self._clients.entity_store.has_model(model)

    def delete_model(self, model: str) -> bool:
        return self._clients.entity_store.delete_model(model)

    def delete_repository(self, output_model: str) -> bool:
        return self._clients.data_store.delete(output_model, "model")

    def register_prompt(self, model: str, *, base_model: str, examples: str, fields: Mapping[str, object]) -> None:
        self._clients.entity_store.register_prompt(model, base_model=base_model, examples=examples, fields=fields)

    def has_prompt(self, model: str) -> bool:
        return self._clients.entity_store.has_model(model)

    def delete_prompt(self, model: str) -> bool:
        return self._clients.entity_store.delete_model(model)
