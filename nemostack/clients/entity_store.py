"""Entity Store: namespaces, datasets and models as metadata. Files are the Data Store's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nemostack.clients.error_mapping import calling
from nemostack.errors import Conflict, NotFound, ServiceError

if TYPE_CHECKING:
    from nemo_microservices import NeMoMicroservices

_SERVICE = "Entity Store"


class EntityStore:
    """Over the SDK."""

    def __init__(self, sdk: "NeMoMicroservices", url: str) -> None:
        self._sdk = sdk
        self._url = url

    def ping(self) -> str:
        """One cheap call; says what came back."""
        with calling(_SERVICE, self._url, "listing namespaces"):
            page = self._sdk.namespaces.list(page_size=1)
            return f"{len(page.data)} namespace(s) on the first page"

    def ensure_namespace(self, namespace: str) -> None:
        """Create it unless it exists. Real services answer an existing one with 409 or 422."""
        try:
            with calling(_SERVICE, self._url, f"creating namespace {namespace}"):
                self._sdk.namespaces.create(id=namespace)
        except ServiceError as error:
            if not (isinstance(error, Conflict) or error.status == 422):
                raise
            with calling(_SERVICE, self._url, f"looking up namespace {namespace}"):
                self._sdk.namespaces.retrieve(namespace)

    def register_dataset(
        self, namespace: str, name: str, *, project: str, description: str, fields: Mapping[str, object]
    ) -> str:
        """Make the repository known as a dataset; returns its files_url. One that exists is kept."""
        files_url = f"hf://datasets/{namespace}/{name}"
        try:
            with calling(_SERVICE, self._url, f"registering dataset {namespace}/{name}"):
                self._sdk.datasets.create(
                    name=name,
                    namespace=namespace,
                    files_url=files_url,
                    project=project,
                    description=description,
                    custom_fields=dict(fields),
                )
        except Conflict:
            pass
        return files_url

    def dataset_fields(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Name and custom fields of every dataset of a namespace."""
        with calling(_SERVICE, self._url, f"listing the datasets of {namespace}"):
            found = self._sdk.datasets.list(filter={"namespace": namespace}, page_size=100)
            return {str(dataset.name): dict(dataset.custom_fields or {}) for dataset in found}

    def has_dataset(self, namespace: str, name: str) -> bool:
        """Whether it is registered."""
        try:
            with calling(_SERVICE, self._url, f"looking up dataset {namespace}/{name}"):
                self._sdk.datasets.retrieve(name, namespace=namespace)
        except NotFound:
            return False
        return True

    def register_prompt(self, model: str, *, base_model: str, examples: str, fields: Mapping[str, object]) -> None:
        """Register the base model with examples in its prompt as a model, in the place of one of this name."""
        namespace, _, name = model.partition("/")
        self.delete_model(model)
        with calling(_SERVICE, self._url, f"registering model {model}"):
            self._sdk.models.create(
                name=name,
                namespace=namespace,
                base_model=base_model,
                prompt={"icl_few_shot_examples": examples},
                description="In-context prompt chosen by nemostack",
                custom_fields=dict(fields),
            )

    def has_model(self, model: str) -> bool:
        """Whether the model `namespace/name` is registered and its files are complete."""
        namespace, _, name = model.partition("/")
        try:
            with calling(_SERVICE, self._url, f"looking up model {model}"):
                registered = self._sdk.models.retrieve(name, namespace=namespace)
        except NotFound:
            return False
        artifact = registered.artifact
        return artifact is None or artifact.status == "upload_completed"

    def files_url(self, model: str) -> str | None:
        """Where the files of the model `namespace/name` are; None for one without. NotFound when it is not there."""
        namespace, _, name = model.partition("/")
        if not name:
            return None  # an alias, or what a NIM serves from elsewhere
        with calling(_SERVICE, self._url, f"looking up model {model}"):
            artifact = self._sdk.models.retrieve(name, namespace=namespace).artifact
        return None if artifact is None else artifact.files_url

    def delete_dataset(self, namespace: str, name: str) -> bool:
        """Delete it; False when there was none."""
        try:
            with calling(_SERVICE, self._url, f"deleting dataset {namespace}/{name}"):
                self._sdk.datasets.delete(name, namespace=namespace)
        except NotFound:
            return False
        return True

    def delete_model(self, model: str) -> bool:
        """Delete it; False when there was none."""
        namespace, _, name = model.partition("/")
        try:
            with calling(_SERVICE, self._url, f"deleting model {model}"):
                self._sdk.models.delete(name, namespace=namespace)
        except NotFound:
            return False
        return True

    def record(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Custom fields of a model entity; None when there is none."""
        try:
            with calling(_SERVICE, self._url, f"looking up {namespace}/{name}"):
                return dict(self._sdk.models.retrieve(name, namespace=namespace).custom_fields or {})
        except NotFound:
            return None

    def save_record(self, namespace: str, name: str, base_model: str, fields: dict[str, Any]) -> None:
        """Create or change a model entity without files of its own, which says `fields`."""
        description = "An alias of served models; its changes are in custom_fields"
        try:
            with calling(_SERVICE, self._url, f"recording {namespace}/{name}"):
                self._sdk.models.update(name, namespace=namespace, base_model=base_model, custom_fields=fields)
        except NotFound:
            self.ensure_namespace(namespace)
            with calling(_SERVICE, self._url, f"recording {namespace}/{name}"):
                self._sdk.models.create(
                    name=name,
                    namespace=namespace,
                    base_model=base_model,
                    description=description,
                    custom_fields=fields,
                )
