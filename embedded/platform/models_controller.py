"""NVIDIA's models controller, which without this ends on a machine without containers.

The controller keeps what each provider serves: it asks for the models and gives the gateway its routes. Out of the box
it also starts deployments through a package that is not published, and ends when that is missing. Here there are no
deployments, which the platform's API refuses by itself. The NIM of the stack is a provider like any other, but for its
adapters: they are known as behind a deployment (`workspace/model&adapters/workspace/adapter`), and each gets a virtual
model with its own name, since the gateway has a route to no other kind of thing. The controller removes it when the
adapter is served no more. It also gives models their `spec` (`model_spec`), and ends jobs that an earlier process of
the platform left behind (`interrupted_jobs`).
"""

import logging
import os
from datetime import datetime
from typing import Any, ClassVar

from nemo_platform import ConflictError
from nemo_platform.types.inference import ServedModelMapping
from nemo_platform.types.inference.model_provider import ModelProvider
from nemo_platform_plugin.controller import NemoController
from nmp.core.models.config import config as models_config
from nmp.core.models.controllers.backends.backends import DeploymentStatusUpdate, ServiceBackend
from nmp.core.models.controllers.backends.registry import BackendRegistry
from nmp.core.models.controllers.context import ModelContext
from nmp.core.models.controllers.models_controller import ModelsController
from nmp.core.models.controllers.provider_reconciler import DiscoverySuccess, ModelProviderReconciler

from embedded.platform.interrupted_jobs import end_interrupted
from embedded.platform.model_spec import Specs

logger = logging.getLogger(__name__)
INTERVAL_S = 5.0
"""As the `REFRESH_S` of the stack."""
NO_DEPLOYMENTS = DeploymentStatusUpdate(
    status="ERROR", status_message="this machine runs no deployments: register a provider in place of one"
)


class NoDeployments(ServiceBackend):
    """The backend that the controller must have. It starts nothing."""

    def __init__(self) -> None:
        """Need nothing."""

    def shutdown(self) -> None:
        """Leave everything as it is."""

    async def create_model_deployment(self, ctx: ModelContext) -> DeploymentStatusUpdate:  # noqa: ARG002
        return NO_DEPLOYMENTS

    async def update_model_deployment(self, ctx: ModelContext) -> DeploymentStatusUpdate:  # noqa: ARG002
        return NO_DEPLOYMENTS

    async def get_model_deployment_status(self, ctx: ModelContext) -> DeploymentStatusUpdate:  # noqa: ARG002
        return NO_DEPLOYMENTS

    async def delete_model_deployment(
        self,
        workspace: str,  # noqa: ARG002 - NVIDIA's signature
        name: str,  # noqa: ARG002
        *,
        deleting_elapsed_seconds: float | None = None,  # noqa: ARG002
    ) -> DeploymentStatusUpdate:
        """Forget one, of which nothing can run."""
        return DeploymentStatusUpdate(status="DELETED")

    async def list_managed_deployment_names(self) -> list[str]:
        return []


class Providers(ModelProviderReconciler):
    """Providers as NVIDIA's controller keeps them; of the NIM at `nim_url`, adapters as those of a deployment."""

    def __init__(self, nim_url: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._nim_url = nim_url

    async def _ensure_external_entities(
        self, provider: ModelProvider, provider_id: str, result: DiscoverySuccess, ctx: ModelContext
    ) -> None:
        """Make no model entities of the NIM's adapters: they belong to the one of its base model."""
        if provider.host_url == self._nim_url:
            result = DiscoverySuccess([model for model in result.models if model.get("parent") is None])
        await super()._ensure_external_entities(provider, provider_id, result, ctx)

    def _generate_external_served_model_mappings(
        self, provider: ModelProvider, result: DiscoverySuccess
    ) -> list[ServedModelMapping]:
        base = next((model["id"] for model in result.models if model.get("parent") is None), None)
        if provider.host_url != self._nim_url or base is None:
            return list(super()._generate_external_served_model_mappings(provider, result))
        workspace, _, name = base.partition("/")
        # Of its context it reads nothing but the model entity of the base model.
        context = ModelContext(model_entity=self._entity_cache.get(workspace, name), model_provider=provider)
        provider_id = f"{provider.workspace}/{provider.name}"
        return self._generate_deployment_served_model_mappings(provider, provider_id, result, context) or []

    async def _reconcile_single_provider(
        self,
        ctx: ModelContext,
        provider: ModelProvider,
        provider_id: str,
        now: datetime,
        existing_vm_names: set[tuple[str, str]] | None,
    ) -> None:
        await super()._reconcile_single_provider(ctx, provider, provider_id, now, existing_vm_names)
        if provider.host_url != self._nim_url or existing_vm_names is None:
            return
        for served in ctx.served_models or ():
            _, is_adapter, adapter = served.model_entity_id.partition("&adapters/")
            workspace, _, name = adapter.partition("/")
            if is_adapter and (workspace, name) not in existing_vm_names:
                await self._route(workspace, name, served.model_entity_id)
                existing_vm_names.add((workspace, name))

    async def _route(self, workspace: str, name: str, entity: str) -> None:
        """Give an adapter a route. A name that is taken keeps its meaning; a failure is tried again next time."""
        try:
            await self._models_sdk.inference.virtual_models.create(
                workspace=workspace, name=name, default_model_entity=entity, autoprovisioned=True
            )
        except ConflictError:
            return
        except Exception:
            logger.warning("no virtual model %s/%s for %s; trying again", workspace, name, entity, exc_info=True)


class Models(ModelsController):
    """NVIDIA's controller with these providers."""

    def __init__(self, nim_url: str, stop_signal: Any) -> None:
        super().__init__(BackendRegistry({"none": NoDeployments()}), stop_signal)
        self._provider_reconciler = Providers(
            nim_url,
            models_sdk=self._models_sdk,
            controller_config=models_config.controller,
            entity_cache=self._entity_cache,
            emit_heartbeat=self.emit_heartbeat,
        )
        self._specs = Specs(self._models_sdk)

    async def fill_specs(self) -> None:
        """Give models what NVIDIA's job in a container would."""
        await self._specs.fill(list(self._entity_cache._entities.values()))  # noqa: SLF001 - there is no other way

    async def end_interrupted(self) -> None:
        """End the jobs whose processes went with the platform's last one."""
        await end_interrupted(self._models_sdk)

    async def close(self) -> None:
        """Close what it holds, from within an event loop."""
        await self._models_sdk.close()
        self._loop.close()


class ModelsOfThisMachine(NemoController):
    """Runs the controller; stands in the place of the platform's own, which is not started."""

    name: ClassVar[str] = "nemostack-models"
    dependencies: ClassVar[list[str]] = ["models", "entities", "inference-gateway", "jobs"]
    _swept = False

    @property
    def interval_seconds(self) -> float:
        """How soon the gateway knows an adapter that NIM has."""
        return INTERVAL_S

    async def on_startup(self) -> None:
        """Build the controller."""
        self._controller = Models(os.environ.get("NEMOSTACK_NIM_URL", ""), self._stop_signal)

    async def reconcile(self) -> None:
        """One step of the controller."""
        if not self._swept:
            await self._controller.end_interrupted()
            self._swept = True
        await self._controller.async_controller_step()
        await self._controller.fill_specs()

    async def list_objects(self) -> list[Any]:
        """Not asked: `reconcile` is the controller's own."""
        raise NotImplementedError

    async def reconcile_one(self, obj: object) -> None:
        """Not asked either."""
        raise NotImplementedError

    async def on_shutdown(self) -> None:
        """Close what the controller holds."""
        await self._controller.close()
