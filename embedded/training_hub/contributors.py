"""The backends `automodel` and `unsloth` as contributors to the hub: routes, commands and SDK resources of each.

What the entry points name are the last two lines: NVIDIA's own where `official` says so.
"""

import json
import uuid
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from nemo_platform_plugin import commands
from nemo_platform_plugin.authz import AuthzScope
from nemo_platform_plugin.customization_contributor import CustomizationContributorSDKResources
from nemo_platform_plugin.discovery import CUSTOMIZATION_CONTRIBUTORS_GROUP
from nemo_platform_plugin.jobs.api_factory import JobRouteOption
from nemo_platform_plugin.jobs.routes import add_job_routes
from nemo_platform_plugin.scheduler import NemoJobScheduler
from nemo_platform_plugin.service import RouterSpec
from pydantic import ValidationError

from embedded.training_hub import official, sdk
from embedded.training_hub.jobs import AutomodelTrainingJob, UnslothTrainingJob


class _Contributor:
    """One backend."""

    name: ClassVar[str]
    job: ClassVar[type[Any]]
    dependencies: ClassVar[list[str]] = ["entities", "auth", "jobs", "secrets", "files", "models"]

    def get_routers(self) -> list[RouterSpec]:
        """Routes of the backend's jobs."""
        router = add_job_routes(
            self.job,
            service_name=self.name,  # jobs are listed by it: filter[source]=automodel
            route_options=[JobRouteOption.CORE, JobRouteOption.PAUSE_RESUME],
            generate_job_name=lambda: f"{self.name}-{uuid.uuid4().hex[:12]}",
            authz=AuthzScope("customization").child(self.name, "jobs"),
        )
        return [
            RouterSpec(
                router=router,
                prefix="/v2/workspaces/{workspace}",
                tag=f"{self.name.capitalize()} Jobs",
                description=self.job.description,
            )
        ]

    def get_cli(self) -> typer.Typer:
        """Commands `submit` and `explain`."""
        app = typer.Typer(name=self.name, help=f"{self.job.description} On a CPU or one GPU.", no_args_is_help=True)
        scheduler = NemoJobScheduler()
        commands._add_submit_command(app, self.job, scheduler)  # noqa: SLF001 - as NVIDIA's own backends do
        commands._add_explain_command(app, self.job, scheduler)  # noqa: SLF001
        _take_a_file(app, self.job)
        return app

    def get_sdk_resources(self) -> CustomizationContributorSDKResources:
        """Make `client.customization.<name>`."""
        return sdk.resources_of(self.name)


def _take_a_file(app: typer.Typer, job: type[Any]) -> None:
    """Let `submit` take the file of a job, which is checked before anything is sent."""
    command = next(command for command in app.registered_commands if command.name == "submit")
    app.registered_commands.remove(command)
    send: Any = command.callback

    @app.command("submit")
    def submit(
        context: typer.Context,
        job_json: Annotated[Path, typer.Argument(help="file with the job's spec as JSON", exists=True, dir_okay=False)],
        workspace: Annotated[str, typer.Option("--workspace", "-w", help="workspace of the job")] = "default",
        cluster: Annotated[str | None, typer.Option(help="a cluster of the CLI's configuration")] = None,
        base_url: Annotated[str | None, typer.Option(help="address of the platform")] = None,
    ) -> None:
        """Submit a job."""
        try:
            spec = job.input_spec_schema.model_validate(json.loads(job_json.read_text(encoding="utf-8")))
        except (ValueError, ValidationError) as error:
            typer.echo(f"Error: {job_json} is no job of {job.name.partition('.')[0]}: {error}", err=True)
            raise typer.Exit(2) from error
        send(
            context,
            spec=spec.model_dump_json(exclude_unset=True),
            workspace=workspace,
            cluster=cluster,
            base_url=base_url,
        )


class OwnAutomodel(_Contributor):
    """Our `automodel`."""

    name = "automodel"
    job = AutomodelTrainingJob


class OwnUnsloth(_Contributor):
    """Our `unsloth`."""

    name = "unsloth"
    job = UnslothTrainingJob


AutomodelContributor = official.choose(CUSTOMIZATION_CONTRIBUTORS_GROUP, "automodel", OwnAutomodel)
UnslothContributor = official.choose(CUSTOMIZATION_CONTRIBUTORS_GROUP, "unsloth", OwnUnsloth)
