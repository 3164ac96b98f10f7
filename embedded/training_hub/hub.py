"""The hub: the service, the command and the SDK namespace `customization`, which put the backends together.

The platform's package expects one and does not bring it. NVIDIA's own takes its place where `official` says so.
"""

from typing import ClassVar

import typer
from fastapi import APIRouter
from nemo_platform_plugin.authz import CallerKind, path_rule
from nemo_platform_plugin.cli import NemoCLI
from nemo_platform_plugin.discovery import discover_customization_contributors
from nemo_platform_plugin.service import NemoService, RouterSpec

from embedded.training_hub import official, sdk

NAME = "customization"


class OwnService(NemoService):  # type: ignore[misc, unused-ignore]
    """`/apis/customization`."""

    name: ClassVar[str] = NAME
    dependencies: ClassVar[list[str]] = ["entities", "auth", "jobs", "secrets", "files", "models"]

    def get_routers(self) -> list[RouterSpec]:
        """Routes of all backends, and one that names them."""
        contributors = discover_customization_contributors()
        router = APIRouter()

        @router.get("/healthz")
        @path_rule(callers=[CallerKind.PRINCIPAL], permissions=[])
        async def healthz() -> dict[str, object]:
            return {"plugin": NAME, "status": "ok", "contributors": sorted(contributors)}

        own = RouterSpec(router=router, tag="Customization", description="The hub's health.", prefix="/v2")
        return [own, *(spec for name in sorted(contributors) for spec in contributors[name].get_routers())]


class OwnCommands(NemoCLI):  # type: ignore[misc, unused-ignore]
    """`nemo customization`."""

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "Train a model on your own data, with one of the installed backends."

    def get_cli(self) -> typer.Typer:
        """Commands of all backends."""
        app = typer.Typer(name=NAME, help=self.description, no_args_is_help=True)
        for name, contributor in sorted(discover_customization_contributors().items()):
            group = contributor.get_cli()
            if group is not None:
                app.add_typer(group, name=name)
        return app


CustomizationService = official.choose("nemo.services", NAME, OwnService)
CustomizationCommands = official.choose("nemo.cli", NAME, OwnCommands)
customization_sdk_resources = official.choose("nemo.sdk", NAME, sdk.customization_sdk_resources)
